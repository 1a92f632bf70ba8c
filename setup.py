"""Where the installed package finds what lies elsewhere in the repository; all else is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = {
    "": "workflow/scripts",
    "isogloss._resources": "resources",
    "isogloss._resources.world": "resources/world",
    "isogloss._captions": "workflow/report",
    "isogloss._scripts": "workflow/scripts",
}

setup(
    packages=[*find_packages("workflow/scripts"), *filter(None, FOLDERS)],
    package_dir=FOLDERS,
    package_data={name: ["*.tsv", "*.yaml", "*.rst", "*.css", "*.js", "*.j2"] for name in FOLDERS if name},
)
