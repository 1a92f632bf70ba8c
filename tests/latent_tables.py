"""Score, steered and state tables as the latent stages write them, of planted answers."""

import json

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from isogloss.tables import write_table


def scores_of_ranks(ranks):
    """Log-probabilities that rank as `ranks` do, equal where they are equal."""
    return np.log(0.05 * np.asarray(ranks, float))


def random_scores(generator, questions, choices=4):
    return np.log(generator.dirichlet(np.ones(choices), size=questions))


def questions_of(count):
    return [f"q{number}" for number in range(count)]


def write_scores(
    path,
    answer,
    *,
    native,
    reference=None,
    letters=None,
    layers=(3,),
    questions=None,
    held_out=(),
    lengths=(1,) * 4,
):
    """Score table of arrays [layers, questions, choices], or [questions, choices] for a single layer.

    `lengths`: tokens of each native and each reference text, then characters of these.
    """
    questions = questions or questions_of(len(answer))
    native, reference, letters = (
        None if array is None else np.asarray(array, float).reshape(len(layers), len(questions), -1)
        for array in (native, native if reference is None else reference, letters)
    )
    rows = [
        {
            "question": question,
            "held_out": question in held_out,
            "layer": layer,
            "answer": int(answer[index]),
            "letters": None if letters is None else letters[number, index].tolist(),
            "letters_bare": None,
            "native": native[number, index].tolist(),
            "reference": reference[number, index].tolist(),
            **{
                f"{text}_{unit}": [lengths[2 * second + first]] * native.shape[-1]
                for second, unit in enumerate(("tokens", "characters"))
                for first, text in enumerate(("native", "reference"))
            },
        }
        for number, layer in enumerate(layers)
        for index, question in enumerate(questions)
    ]
    lists = dict.fromkeys(["letters", "letters_bare", "native", "reference"], pl.List(pl.Float64))
    write_table(path, pl.DataFrame(rows, schema_overrides={**lists, "layer": pl.Int32, "answer": pl.Int32}))
    return str(path)


def write_steered(path, answer, settings, questions=None):
    """Steered table of {(vector, layer, gamma): scores [questions, choices]}."""
    questions = questions or questions_of(len(answer))
    rows = [
        {
            "question": question,
            "answer": int(answer[index]),
            "vector": vector,
            "layer": layer,
            "gamma": gamma,
            "scores": np.asarray(scores, float)[index].tolist(),
        }
        for (vector, layer, gamma), scores in settings.items()
        for index, question in enumerate(questions)
    ]
    write_table(path, pl.DataFrame(rows, schema_overrides={"layer": pl.Int32, "answer": pl.Int32}))
    return str(path)


def write_states(path, states, questions):
    """States of {layer: [questions, d_model]}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"layer_{layer}": np.asarray(vectors, np.float32) for layer, vectors in states.items()}
    save_file(tensors, path, metadata={"questions": json.dumps(questions), "task": "t", "lang": "l", "prompt": "cloze"})
    return str(path)
