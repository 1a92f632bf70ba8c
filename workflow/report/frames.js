/* Put at the end of report.html. A browser refuses a page of over 2 MB as the address of a frame, which is how Snakemake
   shows results that are HTML: such a frame gets the same page as a blob. */
(function () {
  "use strict";
  const LONG = 1000000;
  const unpacked = (address) => {
    const comma = address.indexOf(",");
    const packed = atob(address.slice(comma + 1));
    const bytes = new Uint8Array(packed.length);
    for (let at = 0; at < packed.length; at += 1) bytes[at] = packed.charCodeAt(at);
    return URL.createObjectURL(new Blob([bytes], { type: "text/html;charset=utf-8" }));
  };
  const mend = () => {
    for (const frame of document.querySelectorAll('iframe[src^="data:text/html"]')) {
      const address = frame.getAttribute("src");
      if (address.length > LONG && address.slice(0, 200).includes(";base64,")) frame.src = unpacked(address);
    }
  };
  new MutationObserver(mend).observe(document.documentElement, {
    childList: true,
    subtree: true,
    attributes: true,
    attributeFilter: ["src"],
  });
})();
