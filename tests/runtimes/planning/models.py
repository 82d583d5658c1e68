"""All models of the ground truth, by name."""

from __future__ import annotations

from tests.runtimes.planning.dense_models import DENSE
from tests.runtimes.planning.mixed_models import MIXED
from tests.runtimes.planning.recurrent_models import RECURRENT

MODELS = DENSE | MIXED | RECURRENT
