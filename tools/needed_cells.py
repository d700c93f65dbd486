"""Which earlier cells a cell needs: a backward slice over the names that cells bind and read."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from IPython.core.inputtransformer2 import TransformerManager

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LOOKS_ONLY = re.compile(r"(print|display|show|draw|plot|check|compare|record|assert)(_|\b)")


@dataclass
class Names:
    """What a piece of code does with names.

    binds: every name it may set or whose object it may change; sure: those it certainly sets;
    reads: those it needs from before; later: those its functions need when they are called.
    """

    binds: set[str] = field(default_factory=set)
    sure: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)

    def then(self, after: Names) -> Names:
        """Return what this piece and the one after it do together."""
        reads = self.reads | after.reads - self.sure
        both = (self.binds | after.binds, self.sure | after.sure, reads)
        return Names(*both, self.later | after.later)


def root_of(node: ast.expr) -> str | None:
    """Return the name at the root of `a.b[c].d`, None where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def stored(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that these nodes, such as the targets of an assignment, set."""
    inner = (n for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name))
    return {n.id for n in inner if isinstance(n.ctx, ast.Store)}


def at_once(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes that run now; of a function inside them, only itself and its defaults."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, FUNCTIONS):
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            waiting += getattr(node, "decorator_list", [])
        else:
            waiting += ast.iter_child_nodes(node)


def free_names(function: ast.AST) -> set[str]:
    """Return the names that a function reads and that are neither its arguments nor set in it."""
    nodes = list(ast.walk(function))
    own = {node.arg for node in nodes if isinstance(node, ast.arg)} | stored([function])
    own |= {node.name for node in nodes if isinstance(node, DEFINITIONS)}
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - own


def changed_by(node: ast.AST) -> set[str | None]:
    """Return the names whose objects a node may change in place."""
    if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return {root_of(node)}
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # its result is not kept
        call = node.value
        if isinstance(call.func, ast.Attribute):
            return {root_of(call.func)}
        if isinstance(call.func, ast.Name) and not LOOKS_ONLY.match(call.func.id):
            return {argument.id for argument in call.args if isinstance(argument, ast.Name)}
    return set()


def simple(nodes: Iterable[ast.AST]) -> Names:
    """Return what expressions and statements without a body do with names."""
    names, local = Names(), set()
    for node in at_once(nodes):
        if isinstance(node, ast.Name):
            (names.reads if isinstance(node.ctx, ast.Load) else names.binds).add(node.id)
        elif isinstance(node, COMPREHENSIONS):
            local |= stored(part.target for part in node.generators)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.binds |= {(a.asname or a.name).partition(".")[0] for a in node.names}
            names.sure |= names.binds
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names.sure |= stored(getattr(node, "targets", None) or [node.target])
        elif isinstance(node, ast.AugAssign):
            names.reads.add(root_of(node.target))
        elif isinstance(node, DEFINITIONS):
            names.binds.add(node.name)
            names.sure.add(node.name)
        if isinstance(node, FUNCTIONS):
            names.later |= free_names(node)
        names.binds |= changed_by(node)
    local.add(None)  # stands for what hangs on no name, such as the list of `[].append(1)`
    names.binds -= local
    names.reads -= local
    names.later -= local
    return names


def sequence(statements: list[ast.stmt]) -> Names:
    """Return what statements, one after the other, do with names."""
    names = Names()
    for statement in statements:
        names = names.then(names_in(statement))
    return names


def names_in(node: ast.stmt) -> Names:
    """Return what one statement does with names; a loop is taken to run at least once."""
    if isinstance(node, ast.If):
        yes, no = sequence(node.body), sequence(node.orelse)
        both = yes.then(no)
        return simple([node.test]).then(
            Names(both.binds, yes.sure & no.sure, yes.reads | no.reads, both.later)
        )
    if isinstance(node, ast.For):
        head = simple([node.iter]).then(Names(*2 * (stored([node.target]),)))
        return head.then(sequence(node.body + node.orelse))
    if isinstance(node, ast.While):
        return simple([node.test]).then(sequence(node.body + node.orelse))
    if isinstance(node, ast.With):
        head = simple(item.context_expr for item in node.items)
        targets = stored(item.optional_vars for item in node.items if item.optional_vars)
        return head.then(Names(set(targets), set(targets))).then(sequence(node.body))
    return simple([node])


@functools.lru_cache(maxsize=1_000)
def tree_of(source: str) -> ast.Module:
    """Return the syntax tree of a cell, an empty one where it is no Python."""
    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:
        return ast.Module([], [])


@functools.lru_cache(maxsize=1_000)
def names_of_cell(source: str) -> Names:
    """Return what a cell does with names; nothing where it is no Python."""
    names = sequence(tree_of(source).body)
    names.later -= names.sure
    return names


@functools.lru_cache(maxsize=1_000)
def effects_in(source: str) -> dict[str, set[str]]:
    """Return {function: names from outside whose objects it changes} for a cell's functions."""
    return {
        node.name: changed & free_names(node)
        for node in tree_of(source).body
        if isinstance(node, ast.FunctionDef)
        if (changed := set().union(*map(changed_by, ast.walk(node))) & free_names(node))
    }


@functools.lru_cache(maxsize=1_000)
def modules_in(source: str) -> set[str]:
    """Return the names that a cell's imports bind."""
    nodes = ast.walk(tree_of(source))
    imports = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    return {(a.asname or a.name).partition(".")[0] for n in imports for a in n.names}


def needed(sources: list[str], target: int) -> list[int]:
    """Return the positions of the earlier cells that cell `target` needs, in order.

    A cell is needed where it may set or change a name that is read after it, before the name is
    certainly set anew. What functions read may be set anywhere before the target, unless their own
    cell sets it. A call such as `plt.show()` does not count as a change of what was imported.
    """
    cells = [names_of_cell(source) for source in sources[: target + 1]]
    imported = set().union(*map(modules_in, sources[: target + 1]))
    effects = {k: v for source in sources[: target + 1] for k, v in effects_in(source).items()}
    binds = []
    for names in cells:  # to call a function is to change what it changes
        changed = {n for name in names.reads & effects.keys() for n in effects[name]}
        binds.append((names.binds | changed) - (imported - names.sure))
    found = {target}
    while True:
        wanted = set().union(*(cells[k].later for k in found))
        chosen = set()
        for k in range(target, -1, -1):
            if k == target or binds[k] & wanted:
                chosen.add(k)
                wanted = wanted - cells[k].sure | cells[k].reads
        if chosen <= found:
            return sorted(found - {target})
        found |= chosen
