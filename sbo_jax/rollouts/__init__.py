"""Ways to read a sequence and to differentiate the reading, one per file; no Flax.

Each way is a function on plain arrays (`unroll`, `unroll_parallel`, `unroll_fused`,
`solve_implicit`) and a frozen object for a layer (`Unrolled`, `Parallel`, `Fused`,
`SequenceEquilibrium`, `StepEquilibrium`, `Streamed`), all called as ``rollout(reading)``.
`unroll_chunked` and `unroll_solved` are for states that are matrices.
"""

from .adjoint_policies import UnrolledGradient as UnrolledGradient
from .adjoint_policies import warn as warn
from .chunked import unroll_chunked as unroll_chunked
from .equilibria import SequenceEquilibrium as SequenceEquilibrium
from .equilibria import StepEquilibrium as StepEquilibrium
from .equilibria import Streamed as Streamed
from .fused import Fused as Fused
from .fused import unroll_fused as unroll_fused
from .fused_hopper import ExperimentalFusedHopper as ExperimentalFusedHopper
from .fused_hopper import experimental_unroll_fused_hopper as experimental_unroll_fused_hopper
from .fused_tpu import ExperimentalFusedTPU as ExperimentalFusedTPU
from .fused_tpu import experimental_unroll_fused_tpu as experimental_unroll_fused_tpu
from .implicit import AdjointPolicy as AdjointPolicy
from .implicit import ProblemData as ProblemData
from .implicit import attach_gradient as attach_gradient
from .implicit import keep as keep
from .implicit import solve_adjoint as solve_adjoint
from .implicit import solve_implicit as solve_implicit
from .parallel import Parallel as Parallel
from .parallel import unroll_parallel as unroll_parallel
from .reading import Reading as Reading
from .reading import Rollout as Rollout
from .solved import Moments as Moments
from .solved import unroll_solved as unroll_solved
from .unrolled import Unrolled as Unrolled
from .unrolled import unroll as unroll
