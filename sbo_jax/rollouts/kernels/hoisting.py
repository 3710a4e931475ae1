"""A step in two: what depends on parameters alone, computed before a kernel, and the rest.

A kernel on tensor cores gets its matrices from shared memory and everything else in registers, so
the rest is told apart by what it takes: numbers, rows of numbers, and matrices to multiply by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
from jax.interpreters import partial_eval

# Primitives that only wrap others, and where they keep them.
_WRAPPERS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}

# ``(block, matrix, contracted axis of the matrix, dtype) -> block``
Multiply = Callable[[jax.Array, Any, int, Any], jax.Array]


class Product(NamedTuple):
    """A block times a matrix, the one of this number in what the rest takes."""

    number: int
    axis: int
    width: int
    dtype: Any
    precision: Any


@dataclass(frozen=True)
class HoistedStep:
    """A function ``(varying, parameters) -> blocks``, cut where parameters meet what varies."""

    jaxpr: Jaxpr
    num_varying: int
    out: Any

    @staticmethod
    def of(step: Callable[..., Any], varying: Any, parameters: Any) -> "HoistedStep":
        """Traced at these shapes of one block; ``step(*varying, parameters)``."""
        out = jax.eval_shape(step, *varying, parameters)

        def flat(*leaves: Any) -> list[Any]:
            *varied, given = jax.tree.unflatten(structure, leaves)
            return jax.tree.leaves(step(*varied, given))

        leaves, structure = jax.tree.flatten((*varying, parameters))
        traced = jax.make_jaxpr(flat)(*leaves)
        inlined = jax.make_jaxpr(lambda *leaves: _inlined(traced.jaxpr, traced.consts, leaves))
        closed = inlined(*leaves)
        if closed.consts:
            raise ValueError("expected a step without constant arrays; give them as parameters")
        used, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), True)
        return HoistedStep(used, len(jax.tree.leaves(varying)), jax.tree.structure(out))

    @cached_property
    def _split(self) -> tuple[list[JaxprEqn], list[JaxprEqn]]:
        """Equations that come before the kernel, and those in it."""
        before: list[JaxprEqn] = []
        within: list[JaxprEqn] = []
        known = set(self.jaxpr.invars[self.num_varying :])
        for equation in self.jaxpr.eqns:
            if _is_known(equation, known):
                known.update(equation.outvars)
                before.append(equation)
            else:
                within.append(equation)
        return before, within

    @cached_property
    def _taken(self) -> list[Var]:
        """What the equations in the kernel take from before it."""
        before, within = self._split
        known = set(self.jaxpr.invars[self.num_varying :]).union(*(e.outvars for e in before))
        used = [v for e in within for v in e.invars] + list(self.jaxpr.outvars)
        return list(dict.fromkeys(v for v in used if isinstance(v, Var) and v in known))

    @cached_property
    def products(self) -> list[Product]:
        """Those in the kernel, by the matrix, the axis over which, and the width of the block."""
        found = []
        for equation in self._split[1]:
            if equation.primitive.name == "dot_general":
                matrix, axis = _matrix_of(equation, self._taken)
                block, precision = _aval(equation.invars[0]), equation.params["precision"]
                number = self._taken.index(matrix)
                found.append(Product(number, axis, block.shape[1], block.dtype, precision))
        return found

    def before(self, parameters: Any) -> list[jax.Array]:
        """Everything that the rest takes."""
        given = self.jaxpr.invars[self.num_varying :]
        env = dict(zip(given, jax.tree.leaves(parameters), strict=True))
        _run(self._split[0], env, {})
        return [jnp.asarray(env[v]) for v in self._taken]

    def rest(self, varying: Any, taken: Sequence[Any], multiply: Multiply) -> Any:
        """The blocks, in a kernel; ``taken`` as from `before`, matrices in any form."""
        varied = self.jaxpr.invars[: self.num_varying]
        env = dict(zip(varied, jax.tree.leaves(varying), strict=True))
        env.update(zip(self._taken, taken, strict=True))

        def dot(equation: JaxprEqn, block: jax.Array, matrix: Any) -> jax.Array:
            axis = _matrix_of(equation, self._taken)[1]
            return multiply(block, matrix, axis, _aval(equation.outvars[0]).dtype)

        def add(_: JaxprEqn, *blocks: jax.Array) -> jax.Array:
            return jax.lax.add(*blocks)

        # `add_any` is what gradients add by; Mosaic knows `add`.
        _run(self._split[1], env, {"dot_general": dot, "add_any": add})
        return jax.tree.unflatten(self.out, [_value(env, v) for v in self.jaxpr.outvars])


def _is_known(equation: JaxprEqn, known: set[Var]) -> bool:
    """Whether parameters suffice, and the result is no larger than they are."""
    arrays = [v for v in equation.invars if isinstance(v, Var)]
    if not arrays or not known.issuperset(arrays):
        return False
    return max(_aval(v).size for v in equation.outvars) <= max(_aval(v).size for v in arrays)


def _matrix_of(equation: JaxprEqn, taken: list[Var]) -> tuple[Var, int]:
    """The parameter that a block is multiplied by, and the axis over which."""
    (of_block, of_matrix), batch = equation.params["dimension_numbers"]
    block, matrix = equation.invars
    if matrix not in taken or block in taken or tuple(of_block) != (1,) or batch != ((), ()):
        raise ValueError(
            f"expected products of states with parameters, got one of {block.aval} with "
            f"{matrix.aval}; try unroll (Unrolled)"
        )
    return matrix, of_matrix[0]


def _run(equations: list[JaxprEqn], env: dict[Any, Any], rules: dict[str, Callable]) -> None:
    for equation in equations:
        values = [_value(env, v) for v in equation.invars]
        if rule := rules.get(equation.primitive.name):
            results: Any = rule(equation, *values)
        else:
            # A block lies on one device, whatever mesh the step was traced in.
            params = {k: None if k == "sharding" else v for k, v in equation.params.items()}
            results = equation.primitive.bind(*_as_blocks(values, equation), **params)
        if not equation.primitive.multiple_results:
            results = [results]
        env.update(zip(equation.outvars, results, strict=True))


def _as_blocks(values: list[Any], equation: JaxprEqn) -> list[Any]:
    """Rows of numbers, ``[1, n]`` or ``[n]``, repeated where they meet a block ``[rows, n]``."""
    shape = _aval(equation.outvars[0]).shape
    if equation.primitive.name == "broadcast_in_dim" or len(shape) != 2:
        return values

    def repeated(v: Any, x: Any) -> Any:
        if isinstance(v, Literal) or _aval(v).shape != (1, shape[1]) or _aval(v).shape == shape:
            return x
        return jax.lax.broadcast_in_dim(jnp.reshape(x, shape[1:]), shape, (1,))

    return [repeated(v, x) for v, x in zip(equation.invars, values, strict=True)]


def _aval(v: Any) -> Any:
    """Shape and dtype."""
    return v.aval


def _value(env: dict[Any, Any], v: Any) -> Any:
    return v.val if isinstance(v, Literal) else env[v]


def _inlined(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """The outputs, with every function that is called written out."""
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))

    def called(equation: JaxprEqn, *values: Any) -> list[Any]:
        inner = equation.params[_WRAPPERS[equation.primitive.name]]
        return _inlined(inner.jaxpr, inner.consts, values)

    _run(jaxpr.eqns, env, dict.fromkeys(_WRAPPERS, called))
    return [_value(env, v) for v in jaxpr.outvars]
