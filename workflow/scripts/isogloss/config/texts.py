"""The part of a study that says which models read which text, and where that comes from."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from isogloss.config.base import Name, Section, middle
from isogloss.config.bilingual import Bilingual
from isogloss.config.measures import Languages, Phrases
from isogloss.config.pretrained import PretrainedModel
from isogloss.config.text import Documents, Parallel, ParallelText
from isogloss.config.toy import ToyModel, World, not_in_world
from isogloss.config.translation import Translation
from isogloss.languages import in_order, language


def model_kind(model: Any) -> str:
    """The kind of a model's section: what has a source is fetched, what has none is trained here."""
    if not isinstance(model, dict):
        return getattr(model, "kind", "toy")
    return model.get("kind", "pretrained" if "source" in model else "toy")


Model = Annotated[
    Annotated[ToyModel, Tag("toy")] | Annotated[PretrainedModel, Tag("pretrained")], Discriminator(model_kind)
]


class StudyTexts(Section):
    """Models, languages and texts of a study."""

    study: Name = Field(description="name of the study, recorded in every table")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(default=0, description="seed of everything random")
    languages: Languages
    world: World = World()
    models: dict[Name, Model] = Field(min_length=1, description="language models, by the name of their results folder")
    documents: Documents | None = Field(
        default=None,
        description="documents by language, or world: those of the toy world. absent: made of the parallel text",
    )
    parallel: Parallel | None = Field(
        default=None,
        description="a parallel corpus, or world: the toy world's. absent: the toy world's if documents are, or a model"
        " is trained on it, else none",
    )
    phrases: Phrases = Phrases()
    translation: Translation = Translation()
    bilingual: Bilingual = Bilingual()

    @property
    def parallel_provider(self) -> Literal["world", "corpus"] | None:
        """Where segments come from that are translations of each other: the toy world or a corpus, if anywhere."""
        if self.parallel is None:
            return "world" if self.documents == "world" or (self.documents is None and self._taught()) else None
        return "world" if self.parallel == "world" else "corpus"

    @property
    def documents_provider(self) -> Literal["world", "files", "corpus"] | None:
        """Where documents come from: the toy world, files by language, or the segments of the parallel corpus."""
        if self.documents is None:
            return self.parallel_provider
        return "world" if self.documents == "world" else "files"

    @property
    def phrase_provider(self) -> Literal["world", "files", "corpus"] | None:
        """Where the text comes from that phrases are searched in."""
        looked_up = self.translation.backend == "parallel"
        texts = self.phrases.texts or ("segments" if looked_up else "documents")
        return self.parallel_provider if texts == "segments" else self.documents_provider

    @property
    def phrases_language(self) -> str:
        """The language of the phrases."""
        return self.phrases.language or self.languages.reference

    @property
    def uses_toy_world(self) -> bool:
        """Whether anything of the study is the toy world's."""
        return bool(self._taught()) or "world" in (self.documents_provider, self.parallel_provider)

    def _taught(self) -> list[str]:
        return [name for name, model in self.models.items() if model.kind == "toy"]

    def traits(self, name: str) -> list[str]:
        """What the report needs to know of a model that its section does not say."""
        model = self.models[name]
        traits = {
            "taught": isinstance(model, ToyModel),
            "exports": model.reads_phrases and not self.searched(name),
            "trained_saes": model.reads_phrases and self.trains_saes(name),
            "checkpoints": "bilingual" in model.analyses and len(model.checkpoint_list) > 1,
            "injected": self.injects(name),
        }
        return [trait for trait, holds in traits.items() if holds]

    def searched(self, name: str) -> bool:
        """Whether a model's phrases are searched in text; else they come from exports."""
        return getattr(self.models[name], "neuronpedia", None) is None

    def trains_saes(self, name: str) -> bool:
        """Whether the SAEs of a finished model are trained here; else they are published ones."""
        return getattr(self.models[name], "saes", None) is None

    def document_languages(self, provider: str | None) -> list[str]:
        """The languages of which a provider has documents."""
        if provider == "world":
            return self.world.languages
        return list(self.documents) if provider == "files" and isinstance(self.documents, dict) else self.languages.all

    def sae_shares(self, name: str) -> dict[str, float]:
        """The share that each language has in the tokens that a model's SAEs are trained on."""
        model = self.models[name]
        if isinstance(model, ToyModel):
            return model.shares
        there = [code for code in self.languages.all if code in self.document_languages(self.documents_provider)]
        return dict.fromkeys(there, 1 / len(there))

    @property
    def bilingual_languages(self) -> list[str]:
        """The languages that features are classed by, the reference first."""
        if self.bilingual.languages is not None:
            return self.bilingual.languages
        reference = self.languages.reference
        others = [code for code in (*self.languages.high_resource, *self.languages.all) if code != reference]
        return [reference, *others[:1]]

    def injects(self, name: str) -> bool:
        """Whether features are injected into an unfinished checkpoint of a model."""
        model, intervention = self.models[name], self.bilingual.intervention
        if "bilingual" not in model.analyses or intervention is None:
            return False
        return len(model.checkpoint_list) > 1 or intervention.step is not None

    def intervention_place(self, name: str) -> tuple[str, int]:
        """Checkpoint (its folder's name) and layer at which a model is injected into."""
        model, intervention = self.models[name], self.bilingual.intervention
        assert intervention is not None
        names, layers = model.checkpoint_list, model.layer_list
        layer = middle(layers) if intervention.layer is None else intervention.layer
        step = names[(len(names) - 1) // 2] if intervention.step is None else f"step{intervention.step}"
        return step, layer

    def text_problems(self) -> Iterator[str]:
        """What is wrong with where text comes from, a line each."""
        if self.uses_toy_world and (
            lacking := [code for code in self.languages.all if code not in self.world.languages]
        ):
            yield f"languages: {not_in_world(lacking, self.world.languages)}"
        if isinstance(self.parallel, ParallelText) and "{flores}" in self.parallel.files + self.parallel.text_column:
            codes = in_order({*self.languages.all, *self.bilingual_languages})
            if nameless := [code for code in codes if language(code).flores is None]:
                yield f"parallel: no FLORES-200 code of {', '.join(nameless)} for {{flores}}; write {{lang}}"
        for name, model in self.models.items():
            if isinstance(model, ToyModel) and (odd := set(model.shares) ^ set(self.world.languages)):
                yield (
                    f"models.{name}.shares: must name exactly the languages of world.languages; differs in"
                    f" {', '.join(sorted(odd))}"
                )
            if (
                isinstance(model, ToyModel)
                and max(model.shares.values()) > (most := 1 - self.world.bilingual / 2) + 1e-9
            ):
                largest = max(model.shares, key=model.shares.__getitem__)
                yield (
                    f"models.{name}.shares: {largest} {model.shares[largest]:g}, but where world.bilingual"
                    f" {self.world.bilingual:g} of the tokens are in documents of two languages no language can have"
                    f" more than {most:g}; lower one of the two"
                )
            if self.documents_provider is None and (reader := self._reader(name)):
                yield f"documents: none, which {reader} models.{name} need; give some, or a parallel corpus (parallel)"
            elif model.reads_phrases:
                yield from self._phrase_problems(name)
            if "bilingual" in model.analyses:
                yield from self._bilingual_problems(name)

    def _reader(self, name: str) -> str:
        """What of a model is made from documents; nothing if none is."""
        model = self.models[name]
        readers = {
            "phrases of": model.reads_phrases and self.searched(name),
            "SAEs of": model.reads_saes and self.trains_saes(name),
            "features of": "bilingual" in model.analyses,
        }
        return next((reader for reader, reads in readers.items() if reads), "")

    def _phrase_problems(self, name: str) -> Iterator[str]:
        provider, language = self.phrase_provider, self.phrases_language
        if self.searched(name) and provider and language not in self.document_languages(provider):
            yield f"documents: none in {language}, the language of the phrases; add, or change phrases.language"
        if not (self.searched(name) and provider in ("world", "corpus")):
            there = "documents" if self.searched(name) else "exports"
            mend = f"give parallel text and {'phrases.texts: segments' if self.searched(name) else 'no neuronpedia'}"
            if self.translation.backend == "parallel":
                yield (
                    f"translation.backend: parallel looks up segments of a parallel corpus, phrases of models.{name}"
                    f" come from {there}; set a machine translation (nllb, madlad, opus-mt), or {mend}"
                )
            if self.phrases.unit == "segment":
                yield (
                    f"phrases.unit: phrases of models.{name} come from {there}, which have no segments; set window, or"
                    f" {mend}"
                )
        if "alignment" in self.models[name].analyses and language != self.languages.reference:
            yield (
                f"phrases.language: alignment of models.{name} needs phrases in the reference"
                f" {self.languages.reference}, not in {language}; leave phrases.language or alignment out"
            )

    def _bilingual_problems(self, name: str) -> Iterator[str]:
        model, codes, intervention = self.models[name], self.bilingual_languages, self.bilingual.intervention
        provider = self.documents_provider
        if provider and (lacking := [code for code in codes if code not in self.document_languages(provider)]):
            key = {"world": "world.languages", "files": "documents", "corpus": "languages"}[provider]
            yield f"bilingual.languages: {', '.join(lacking)} not in {key}; add, or leave the language out"
        if len(codes) < 2:
            yield "bilingual.languages: give two or more languages"
        if self.bilingual.sae_seeds and model.sae is None:
            yield f"bilingual.sae_seeds: the SAEs of models.{name} are published ones; give models.{name}.sae, or none"
        if self.seed in self.bilingual.sae_seeds:
            yield f"bilingual.sae_seeds: {self.seed} is the study's seed, which its own SAEs have; give other ones"
        embeddings = self.bilingual.embeddings
        if embeddings is not None and embeddings not in self.models:
            yield f"bilingual.embeddings: no model {embeddings!r}; allowed: {', '.join(self.models)}"
        if intervention is None or not self.injects(name):
            return
        checkpoint, layer = self.intervention_place(name)
        if checkpoint not in model.checkpoint_list[:-1]:
            allowed = ", ".join(step.removeprefix("step") for step in model.checkpoint_list[:-1])
            yield (
                f"bilingual.intervention.step: models.{name} has no unfinished checkpoint {checkpoint};"
                f" allowed: {allowed or 'none, add one to its checkpoints, or set bilingual.intervention to null'}"
            )
        if layer not in model.layer_list:
            yield (
                f"bilingual.intervention.layer: models.{name} has no analysed layer {layer}; allowed:"
                f" {', '.join(map(str, model.layer_list))}"
            )
        if intervention.translations and intervention.translations.folder is None and self.parallel_provider is None:
            yield "bilingual.intervention.translations: no parallel text to translate; give parallel, or folder"
