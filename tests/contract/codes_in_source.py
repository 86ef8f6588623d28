"""Which codes the service can give, read from its source: a code that nobody described has no place to hide.

A reason is made by `Reason(code=…)`, or by a function of the same module that passes its first argument
on as the code. What is neither a literal nor such an argument stops the test.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from contract.contract_file import REPOSITORY

SOURCE = REPOSITORY / "service/kubemint"
KINDS = ("user", "group")  # what `kind` stands for in f"{kind}-reserved"; policy.question._name_reasons
_CLIENT = SOURCE / "client"  # shows the codes of a service; gives none


def reason_codes() -> set[str]:
    """Give every code that a reason can have."""
    return {code for file in _files(SOURCE) for code in _codes_made_in(ast.parse(file.read_text()))}


def problem_codes() -> set[tuple[int | None, str]]:
    """Give status and code of each `problem(status, code, …)` in the web; None for a status that is computed."""
    return {
        (call.args[0].value if isinstance(call.args[0], ast.Constant) else None, literal.value)
        for file in _files(SOURCE / "web")
        for call in _calls_of(ast.parse(file.read_text()), {"problem"})
        for literal in ast.walk(call.args[1])
        if isinstance(literal, ast.Constant) and isinstance(literal.value, str)
    }


def raised_names(error_name: str) -> set[Path]:
    """Give the modules that raise an exception, by its class' name."""
    return {
        file.relative_to(SOURCE)
        for file in _files(SOURCE)
        for raised in ast.walk(ast.parse(file.read_text()))
        if isinstance(raised, ast.Raise) and any(_calls_of(raised, {error_name}))
    }


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*.py")) if not file.is_relative_to(_CLIENT))


def _codes_made_in(module: ast.Module) -> Iterator[str]:
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    makers = {"Reason"}
    while found := {one.name for one in functions if one.name not in makers and _passes_code_on(one, makers)}:
        makers |= found
    for call in _calls_of(module, makers):
        yield from _values(_code_of(call), call)


def _passes_code_on(function: ast.FunctionDef, makers: set[str]) -> bool:
    first = function.args.args[0].arg if function.args.args else None
    codes = (_code_of(call) for call in _calls_of(function, makers))
    return any(isinstance(code, ast.Name) and code.id == first for code in codes)


def _calls_of(node: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in names:
            yield call


def _code_of(call: ast.Call) -> ast.expr:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    return named[0] if named else call.args[0]


def _values(code: ast.expr, call: ast.Call) -> Iterator[str]:
    match code:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=[ast.FormattedValue(value=ast.Name(id="kind")), ast.Constant(value=str(tail))]):
            yield from (kind + tail for kind in KINDS)
        case ast.Name(id="code"):
            return  # the argument of a function that passes it on: its callers are looked at
        case _:
            raise AssertionError(f"line {call.lineno}: a code that cannot be read: {ast.unparse(code)}")
