"""Conditions that several options share, or that ask an object: a solver, an operator, a task."""

from ...tasks.registry import properties
from .needs import Needs, Where
from .registry import OWN

# In float32 the residual of relaxed training is mostly rounding beyond this penalty.
LARGEST_PENALTY = 1000.0

# Rollouts by kernels, and the platform that each is written for.
KERNELS = {
    "fused": "gpu",
    "experimental_fused_hopper": "gpu",
    "experimental_fused_tpu": "tpu",
}
EXPLICIT = ("unrolled", "parallel", *KERNELS)
IMPLICIT = ("sequence", "step", "streamed")
CAUSAL = (*EXPLICIT, "step")
RELAXED = ("penalty", "lagrangian", "bcd")

SBO = Needs(model=("sbo",))
STACKED = Needs(model=OWN)
BY_BPTT = Needs(training=("bptt",))
BY_GRADIENT = Needs(training=("bptt", "penalty", "lagrangian"))

STEPS_IN_ORDER = Needs(", whose gradient does not go back step by step", rollout=CAUSAL)
OF_EACH_STEP = Needs(", whose energy is an average over the steps", rollout=CAUSAL)
ONE_LEVEL = Needs(
    ", which reads pieces of a sequence side by side", model=lambda name: name != "sharnn"
)
SEVERAL_LAYERS = Where(lambda config: config.layer.layers > 1, ("layers",))
MOMENTUM = Where(lambda config: config.lower.level().takes_mu, ("solver", "preset"))
RANK = Where(lambda config: config.lower.takes_rank, ("operator", "preset"))
WINDOW = Where(lambda config: config.method.can_have_window, ("hypergradient",))
GROWTH_BETWEEN_ROUNDS = Where(lambda config: config.method.can_grow_between_rounds, ("rounds",))
GROWTH_BETWEEN_EPOCHS = Where(
    lambda config: config.method.can_grow_between_epochs,
    ("penalty",),
    f", which is {LARGEST_PENALTY:g} or more",
)

WITHOUT_EPOCHS = Where(lambda config: config.upper.epochs is None, ("epochs",))
AWAITING = Where(
    lambda config: config.choice.select != "last" or not config.choice.patience,
    ("select",),
    ", where no validation is awaited",
)
WITHOUT_LEARN_HYPER = Where(
    lambda config: not config.method.learn_hyper,
    ("learn_hyper",),
    ", which trains on validation samples already",
)
BY_TRAINING_LOSS = Where(lambda config: not config.method.learn_hyper, ("learn_hyper",))

DRAWN_SPLIT = Needs(
    ", whose files are its splits", task=lambda name: properties(name).has_split_seed
)
TOKENS = Needs(", which predicts no tokens", task=lambda name: properties(name).predicts_tokens)
SEPARATE_SAMPLES = Needs(
    ", whose samples do not stand for themselves", task=lambda name: not properties(name).is_stream
)
CLASSES = Needs(", which has no classes", task=lambda name: properties(name).has_classes)
IMAGES = Needs(
    ", whose samples are no images as those of digits and pixel_mnist are",
    task=lambda name: properties(name).is_square_image,
)

LEARNED = {
    "eta": (SBO, Needs(rollout=EXPLICIT)),
    "mu": (SBO, MOMENTUM, Needs(rollout=EXPLICIT)),
    "affine": (IMAGES,),
}
