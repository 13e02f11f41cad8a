"""Training and fine-tuning: recipes, the loop, and state to resume from."""

from edgekit.training._distill import Teacher
from edgekit.training._loader import TrainingImages
from edgekit.training._loop import STATE_FILE, Step, Trained, train
from edgekit.training._optimization import initialise
from edgekit.training._state import EpochResult
from edgekit.training._unfold import unfold
from edgekit.training.recipes import RECIPES, Recipe, recipe

__all__ = [
    "RECIPES",
    "STATE_FILE",
    "EpochResult",
    "Recipe",
    "Step",
    "Teacher",
    "Trained",
    "TrainingImages",
    "initialise",
    "recipe",
    "train",
    "unfold",
]
