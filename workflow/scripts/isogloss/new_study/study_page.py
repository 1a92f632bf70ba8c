"""A new study as the text of its file: YAML with comments on what was read, chosen and not found."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from isogloss.config.study import RESERVED
from isogloss.new_study.asked_questions import Questions
from isogloss.new_study.described_model import LARGE, DescribedModel, stride
from isogloss.new_study.given import key_of
from isogloss.new_study.language_groups import LanguageGroups
from isogloss.new_study.parallel_corpus import FLORES, Corpus
from isogloss.new_study.published_saes import Published
from isogloss.sources.saes.belonging import same_model

PROBES = 6  # layers that the logit lens reads, about
EVALUATION_TOKENS = 20_000  # for paper C: what some thousand short segments in two languages have at least


class NewStudy(NamedTuple):
    """What a study file is written from."""

    model: DescribedModel
    languages: LanguageGroups
    corpus: Corpus
    questions: Questions
    saes: Published | None  # None: trained here
    suggested: list[Published]

    @property
    def layers(self) -> list[int]:
        """Those of the SAEs, of the first suggested ones too, so that these can be taken later; else at equal steps."""
        published = self.saes or next(iter(self.suggested), None)
        return published.layers if published else self.model.depths

    @property
    def analyses(self) -> list[str]:
        """All that languages and questions are there for."""
        compared = ["gap", "alignment"] if self.languages.low else []
        asked = [name for name in ("benchmarks", "latent") if getattr(self.questions, name)]
        return ["similarity", *compared, *asked, "bilingual"]

    @property
    def lacking(self) -> list[str]:
        """What could not be found, a sentence each."""
        saes = []
        if self.saes is None and not self.suggested:
            names = " or ".join(self.model.names)
            saes.append(
                f"SAEs: SAELens' directory has none of the residual stream of a model called {names}, so they are"
                " trained here; SAES=RELEASE takes those of a release"
            )
        elif self.saes and not any(same_model(self.saes.model, known) for known in self.model.names):
            saes.append(
                f"SAEs: whether {self.saes.release}, said to be of {self.saes.model}, is of this model; fetching"
                " compares what their files say"
            )
        groups = [] if self.languages.low else ["languages: all have much text on the Web, so no two groups to compare"]
        return [*groups, *saes, *self.corpus.lacking, *self.questions.lacking]

    def text(self, name: str, path: str) -> str:
        """The file's content, for a study called `name` in the file `path`."""
        parts = [self._head(name, path), self._languages(), self._model(), self._texts(), self._measures()]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    def _head(self, name: str, path: str) -> Iterator[str]:
        title, langs = self.model.given.title, ", ".join(self.languages.codes)
        yield comment(f"{title} in {langs}, by `make study`; every key is in config/README.md.")
        yield comment(f"  make plan STUDY={path}      what it will cost, before anything runs")
        yield comment(f"  snakemake --cores 2 --configfile {path}      add -n to see what would run")
        if self.lacking:
            yield "# Not found, or not looked up:"
            yield from (comment(f"- {line}") for line in self.lacking)
        yield f"study: {flow(name)}"
        yield "seed: 0"

    def _languages(self) -> Iterator[str]:
        if self.languages.low:
            yield "languages: # no list of resource levels is read: move those that stand in the wrong group"
        else:
            yield "languages: # for gap and alignment: high_resource and medium_low_resource instead of others"
        yield from (f"  {key}: {flow(value)}" for key, value in self.languages.keys.items())

    def _model(self) -> Iterator[str]:
        model, shape = self.model, self.model.shape
        key = key_of(model.given.title)
        yield "models:"
        yield f"  {flow(f'{key}-model' if key in RESERVED else key)}:"
        yield f"    title: {flow(model.given.title)}"
        yield f"    source: {flow(model.given.keys)}"
        yield comment(
            f"read from it: {shape.layers} layers of width {shape.d_model}, {shape.heads} heads, some"
            f" {model.parameters / 1e9:.2g} billion parameters, a vocabulary of {shape.vocabulary} ({model.tokens} in"
            f" the tokenizer), BOS {json.dumps(model.bos)} ({model.bos_id})",
            indent=4,
        )
        yield f"    layers: {flow(self.layers)}"
        yield f"    analyses: {flow(self.analyses)}"
        if self.saes is None:
            yield "    # trained here, on the documents of all languages; sized to the model"
            yield f"    sae: {flow(model.recipe)}"
        else:
            yield f"    saes: {flow(self.saes.keys)}"
            yield comment(f"{described(self.saes)}; of {self.saes.model}", indent=4)
        if self.suggested:
            yield "    # published ones, with `layers` to match:"
            for one in self.suggested:
                yield comment(f"  saes: {flow(one.keys)}", indent=4)
                yield comment(f"  layers: {flow(one.layers)}      {described(one)}", indent=4)

    def _texts(self) -> Iterator[str]:
        yield "parallel: # phrases are searched in these segments and looked up in the other languages"
        yield f"  {flow(self.corpus.keys)}"
        if self.corpus.keys.get("id") == FLORES["id"] and not self.saes:
            yield "# SAEs are trained on these segments too, for a trial: FLORES+ is meant for evaluation alone."
        yield "# Documents are these segments too. SAEs are better for more text; by language:"
        yield f"# documents: {{{self.languages.reference}: {{folder: FOLDER, files: NAME.jsonl, column: text}}, ...}}"

    def _measures(self) -> Iterator[str]:
        model, langs, layers = self.model, self.languages, self.layers
        features = (self.saes and self.saes.features(model.shape.d_model)) or model.recipe["features"]
        yield f"phrases: {flow({'feature_stride': stride(features), 'per_feature': 2, 'corpus_tokens': 100_000})}"
        precision = "bfloat16" if model.parameters >= LARGE else "float32"
        yield f"compute: {flow({'dtype': precision})}"
        if "alignment" in self.analyses:
            target = layers[2 * (len(layers) - 1) // 3]
            yield "alignment:"
            yield "  learning_rate: 0.0001"
            run = {f"{key_of(langs.last)}-l{target}": {"target_layer": target, "languages": [langs.last]}}
            yield f"  runs: {flow(run)}"
        if self.questions.benchmarks:
            yield "benchmarks: # any multiple-choice task of lm-eval; for all questions leave `questions` out"
            yield from _tasks(self.questions.benchmarks)
        if self.questions.latent:
            every = max(1, model.shape.layers // PROBES)
            depth = model.shape.layers
            probed = range((depth - 1) % every, depth, every)
            yield "latent: # paper B"
            yield f"  every: {every}"
            yield "  held_out: 20"
            yield from _tasks(self.questions.latent)
            yield f"  steering: {flow({'gammas': [-1.0, 1.0], 'layers': [probed[len(probed) * 2 // 3]]})}"
        yield "bilingual: # paper C, on the finished model"
        yield f"  languages: {flow([langs.reference, langs.last])}"
        yield f"  evaluation_tokens: {EVALUATION_TOKENS}"


def _tasks(tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "  tasks:"
    yield from (f"    {name}: {flow(dict(keys))}" for name, keys in tasks.items())


def described(saes: Published) -> str:
    """What a release has besides what is chosen."""
    layers = ", ".join(map(str, saes.every_layer))
    return f"it has layers {layers}" + (f"; {saes.others}" if saes.others else "")


def flow(value: Any) -> str:
    """A value as YAML on one line, quoted where need be."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def comment(text: str, indent: int = 0) -> str:
    """One line of comment, whatever is in it: names and messages are others' text."""
    lead = len(text) - len(text.lstrip(" "))
    line = "".join(mark if mark.isprintable() else "?" for mark in " ".join(text.split("\n")))
    return f"{' ' * indent}# {' ' * lead}{line.strip()}"
