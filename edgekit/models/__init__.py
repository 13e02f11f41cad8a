"""Models: the architectures, their checkpoints, what they cost."""

from edgekit.models._activations import ActivationStatistics, activation_statistics
from edgekit.models._load import NO_OVERRIDES, LoadedModel, Overrides, complete_preprocessing, load
from edgekit.models._metadata import to_metadata
from edgekit.models._profile import LayerProfile, Profile, profile, separable_cost
from edgekit.models._save import save_checkpoint
from edgekit.models.blocks import MobileNet, channels_of, choosing_layers
from edgekit.models.registry import FAMILIES, Family, build, check, names
from edgekit.shipped import shipped_checkpoint

__all__ = [
    "FAMILIES",
    "NO_OVERRIDES",
    "ActivationStatistics",
    "Family",
    "LayerProfile",
    "LoadedModel",
    "MobileNet",
    "Overrides",
    "Profile",
    "activation_statistics",
    "build",
    "channels_of",
    "check",
    "choosing_layers",
    "complete_preprocessing",
    "load",
    "names",
    "profile",
    "save_checkpoint",
    "separable_cost",
    "shipped_checkpoint",
    "to_metadata",
]
