"""Training sets: label rows in, the same rows with point-in-time correct feature columns out."""

from mlforge.retrieve.request import FeatureSpec
from mlforge.retrieve.training import TrainingSet, training_set

__all__ = ["FeatureSpec", "TrainingSet", "training_set"]
