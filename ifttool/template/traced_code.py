"""A chat template compiled for traced data: once, for tracing and for recording."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame

FOLLOW = "ifttool_follow"
"""The filter that top-level loops are marked with. Each environment for traced data has it."""


class TracingCodeGenerator(CodeGenerator):
    """Compiles ``a in b`` to a call, since ``traced in "constant"`` never asks the traced side.

    Tells the environment where a marked loop is left.
    """

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if not any(operand.op in ("in", "notin") for operand in node.ops):
            super().visit_Compare(node, frame)
            return
        if len(node.ops) > 1:  # `a in b in c` is `a in b and b in c`
            self.visit(_pairwise(node), frame)
            return
        self.write("(not " if node.ops[0].op == "notin" else "(")
        self.write("environment.contains(")
        self.visit(node.expr, frame)
        self.write(", ")
        self.visit(node.ops[0].expr, frame)
        self.write("))")

    def visit_Break(self, node: nodes.Node, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if getattr(node, "leaves_followed_loop", False):
            self.writeline("environment.leave_loop()", node)
        self.writeline("break", node)


def _pairwise(node: nodes.Compare) -> nodes.Expr:
    left, links = node.expr, []
    for operand in node.ops:
        links.append(nodes.Compare(left, [operand], lineno=node.lineno, environment=node.environment))
        left = operand.expr
    chain: nodes.Expr = links[-1]
    for link in reversed(links[:-1]):
        chain = nodes.And(link, chain, lineno=node.lineno, environment=node.environment)
    return chain


@dataclass(frozen=True, slots=True)
class TracedCode:
    """A template as Python code that isn't bound to an environment yet.

    Attributes:
        code: The code.
        loops: First and last line of each marked loop, by its number.
        loads: Where each name is read for the last time; infinite for names that macros read.
    """

    code: CodeType
    loops: Sequence[tuple[int, int]]
    loads: Mapping[str, float]

    def bound_to(self, environment: jinja2.Environment) -> jinja2.Template:
        """The template in an environment for traced data."""
        return jinja2.Template.from_code(environment, self.code, environment.make_globals(None))


def compile_traced(environment: jinja2.Environment, tree: nodes.Template) -> TracedCode:
    """Compile a template for traced data.

    Args:
        environment: One of the environments that the code may be bound to; their filters and tests take the same
            arguments.
        tree: The template. Its loops are marked in place.
    """
    loads = _loads(tree)
    spans = []
    for number, loop in enumerate(_top_level_loops(tree.body)):
        last = max(node.lineno or 0 for node in _nodes_of(loop))
        spans.append((loop.lineno, last))
        for node in _breaks(loop.body):
            node.leaves_followed_loop = True  # type: ignore[attr-defined]
        loop.iter = nodes.Filter(
            loop.iter, FOLLOW, [nodes.Const(number)], [], None, None, lineno=loop.lineno, environment=environment
        )
    return TracedCode(environment.compile(tree), spans, loads)


def _loads(tree: nodes.Template) -> dict[str, float]:
    """Where each name is read for the last time; names that macros read may be read anywhere."""
    last: dict[str, float] = {}
    anywhere = set()
    for node in _nodes_of(tree):
        if isinstance(node, nodes.NSRef) or (isinstance(node, nodes.Name) and node.ctx == "load"):
            last[node.name] = max(last.get(node.name, 0), node.lineno)
        elif isinstance(node, nodes.Macro | nodes.CallBlock):
            anywhere |= {inner.name for inner in _nodes_of(node) if isinstance(inner, nodes.Name)}
    return last | dict.fromkeys(anywhere, float("inf"))


def _nodes_of(tree: nodes.Node) -> Iterator[nodes.Node]:
    """A node and all below it, in no order; Jinja's ``find_all`` is a generator in a generator for each level."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        left += node.iter_child_nodes()


def _breaks(body: Sequence[nodes.Node]) -> Iterator[nodes.Node]:
    """Breaks out of a loop, not out of loops inside it."""
    for node in body:
        if type(node).__name__ == "Break":
            yield node
        elif not isinstance(node, nodes.For):
            yield from _breaks(list(node.iter_child_nodes()))


def _top_level_loops(body: Sequence[nodes.Node]) -> Iterator[nodes.For]:
    """Loops that no other construct but ``if`` is around, in which one iteration leaves nothing to the next."""
    for node in body:
        if isinstance(node, nodes.For) and not (node.test or node.recursive or node.else_):
            yield node
        elif isinstance(node, nodes.If):
            for part in (node.body, *(branch.body for branch in node.elif_), node.else_):
                yield from _top_level_loops(part)
