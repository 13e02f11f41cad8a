"""Training and fine-tuning: recipes, the loop, and state to resume from."""

from edgekit.training._distill import Teacher
from edgekit.training._loader import TrainingImages
from edgekit.training._loop import STATE_FILE, Step, Trained, train
from edgekit.training._optimization import initialise
from edgekit.training._place import AUTO, Place, chosen_device, joined
from edgekit.training._state import EpochResult
from edgekit.training._unfold import unfold
from edgekit.training.recipes import RECIPES, Recipe, recipe

__all__ = [
    "AUTO",
    "RECIPES",
    "STATE_FILE",
    "EpochResult",
    "Place",
    "Recipe",
    "Step",
    "Teacher",
    "Trained",
    "TrainingImages",
    "chosen_device",
    "initialise",
    "joined",
    "recipe",
    "train",
    "unfold",
]
