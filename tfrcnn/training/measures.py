"""How an epoch is judged on validation data: by detections, or by the RPN's losses if the box head is not trained.

A measure is any function of a training model that returns a `Judgement`; `train(measure=...)` takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import tensorflow as tf

from tfrcnn.config import DetectionConfig, TrainingConfig
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.pipeline import training_data
from tfrcnn.evaluation.coco import headline_names
from tfrcnn.evaluation.evaluate import Metric, evaluate
from tfrcnn.evaluation.limits import per_class_limit
from tfrcnn.evaluation.proposals import evaluate_proposals
from tfrcnn.inference import Predictor
from tfrcnn.training.joint import LOSSES_OF, TrainingModel
from tfrcnn.training.schemes import HEAD, RPN, SCHEMES, Phase
from tfrcnn.training.workers import divide


class Judgement(NamedTuple):
    """How good an epoch is.

    Attributes:
        scores: by name; the first chooses the best epoch. None is a score that is not defined.
        lower_is_better: whether lower values of the first score are better.
        report: JSON values to keep for the best epoch, or None.
    """

    scores: dict[str, float | None]
    lower_is_better: bool = False
    report: dict[str, Any] | None = None


Measure = Callable[[TrainingModel], Judgement]


def measure_of(phase: Phase, validation: Dataset, metric: Metric, training: TrainingConfig) -> Measure:
    """Return a phase's measure: `DetectionMeasure`, or `RPNLossMeasure` if the box head is not trained."""
    if HEAD in phase.losses:
        return DetectionMeasure(validation, metric)
    return RPNLossMeasure(validation, training)


def score_names(phase: Phase, metric: Metric, limits: DetectionConfig | None = None) -> list[str]:
    """Return the names of a phase's scores, as `measure_of` gives them; the first chooses the best epoch."""
    if HEAD in phase.losses:
        return headline_names(per_class_limit(limits)) if metric == "coco" else ["mAP"]
    return ["rpn_loss", *LOSSES_OF[RPN]]


def reported_names(training: TrainingConfig, metric: Metric | None, limits: DetectionConfig | None = None) -> list[str]:
    """List the numbers that the epochs of a run report; without a metric the losses alone.

    `limits` are the detector's: the COCO metric's "AR100" is "AR300" if it returns 300 detections per image.
    """
    names = ["loss"]
    for phase in SCHEMES[training.scheme]:
        names += [name for stage in phase.losses for name in LOSSES_OF[stage]]
        names += [f"val_{name}" for name in (score_names(phase, metric, limits) if metric else ())]
    return list(dict.fromkeys(names))


class _PredictorMeasure:
    """Measures what a detector returns; traces it once for all epochs."""

    _predictor: Predictor | None = None

    def predictor(self, model: TrainingModel) -> Predictor:
        if self._predictor is None or self._predictor.detector is not model.detector:
            self._predictor = Predictor(model.detector)
        return self._predictor


class DetectionMeasure(_PredictorMeasure):
    """Measures detections in a data set by the metric's numbers."""

    def __init__(self, validation: Dataset, metric: Metric) -> None:
        """
        Args:
            validation: the data to detect in.
            metric: "coco", "voc" or "voc07".
        """
        self.validation, self.metric = validation, metric

    def __call__(self, model: TrainingModel) -> Judgement:
        predictor, whole = self.predictor(model), self.validation
        detections = divide(lambda part: predictor.detect_dataset(replace(whole, examples=part)), whole.examples)
        evaluation = evaluate(self.validation, detections, self.metric, model.detector.config.detections)
        return Judgement(evaluation.headline, report=evaluation.to_dict())


class RPNLossMeasure:
    """Measures the RPN's losses on a data set: image by image, not augmented, at the same sampled anchors every time.

    "rpn_loss", the sum of the two losses, chooses the best epoch.
    """

    def __init__(self, validation: Dataset, training: TrainingConfig) -> None:
        """
        Args:
            validation: the data to compute the losses on.
            training: of the run; its seed is used.
        """
        self.validation = validation
        self.training = TrainingConfig(batch_size=1, horizontal_flip=False, seed=training.seed)
        self.losses: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]] | None = None
        self.model: TrainingModel | None = None

    def __call__(self, model: TrainingModel) -> Judgement:
        results = divide(lambda part: self._losses_of(model, part), self.validation.examples)
        means = {name: float(tf.reduce_mean([losses[name] for losses in results])) for name in results[0]}
        return Judgement({"rpn_loss": sum(means.values()), **means}, lower_is_better=True)

    def _losses_of(self, model: TrainingModel, examples: Sequence[Example]) -> list[dict[str, float]]:
        """Compute the losses of each image, in any order."""
        part = replace(self.validation, examples=examples)
        data = training_data(part, model.detector.config.image, self.training)
        batches = data.batches()
        if self.model is not model:
            self.model = model
            self.losses = tf.function(
                lambda batch: model.losses_of(batch, model(batch, training=False), training=False),
                input_signature=[batches.element_spec],
            )
        assert self.losses is not None
        results = map(self.losses, batches.take(data.steps_per_epoch))
        return [{name: float(loss) for name, loss in losses.items()} for losses in results]


class RecallMeasure(_PredictorMeasure):
    """Measures the average recall of proposals, "AR100" for the best 100 per image, see `evaluate_proposals`."""

    def __init__(self, validation: Dataset, count: int = 100) -> None:
        """
        Args:
            validation: the data to propose in.
            count: proposals per image.
        """
        self.validation, self.count = validation, count

    def __call__(self, model: TrainingModel) -> Judgement:
        predictor, whole = self.predictor(model), self.validation
        proposals = divide(
            lambda part: predictor.propose_dataset(replace(whole, examples=part), self.count), whole.examples
        )
        evaluation = evaluate_proposals(self.validation, proposals, [self.count])
        score = evaluation.average_recall[f"AR@{self.count}"]
        return Judgement({f"AR{self.count}": score}, report=evaluation.to_dict())
