"""Both engines of the COCO metric give the same numbers."""

import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.evaluation.coco import evaluate_coco
from tfrcnn.evaluation.evaluate import evaluate


def test_faster_coco_eval_gives_the_numbers_of_pycocotools(golden, random_pairs):
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    for pair in (golden, *(random_pairs(seed) for seed in range(5))):
        first, second = (evaluate_coco(*pair, engine=engine) for engine in ("pycocotools", "faster-coco-eval"))
        assert second.headline == pytest.approx(first.headline, abs=1e-9)
        assert second.counts == first.counts
        for a, b in zip(first.per_class, second.per_class):
            assert b.metrics == pytest.approx(a.metrics, abs=1e-9)
            if a.curve is not None and b.curve is not None:
                np.testing.assert_allclose(b.curve.precision, a.curve.precision, atol=1e-9)
                np.testing.assert_allclose(b.curve.score, a.curve.score, atol=1e-6)


def test_an_engine_that_does_not_fit_is_refused(random_pairs):
    with pytest.raises(InputError, match="engine: expected one of pycocotools, faster-coco-eval, found 'other'"):
        evaluate_coco(*random_pairs(0), engine="other")
    with pytest.raises(InputError, match="engine: faster-coco-eval computes the COCO metric only"):
        evaluate(*random_pairs(0), "voc", engine="faster-coco-eval")
