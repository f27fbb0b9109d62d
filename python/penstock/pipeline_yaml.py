"""Reads pipeline files in YAML: tasks that are commands, with the options that `@task` has.

The format is described in docs/pipeline_files.md. Every complaint has the line and the column of what it is about.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import yaml

from penstock.errors import CycleError, OptionError, ResourceError, did_you_mean
from penstock.fallback import Value
from penstock.options import COMMAND_OPTIONS
from penstock.pipeline import Pipeline
from penstock.policies import Policy, resolve
from penstock.retry import Retry
from penstock.task import CommandTemplate, Text, command
from penstock.yaml_nodes import Document, Entry

if TYPE_CHECKING:
    from yaml.nodes import Node

__all__ = ["FORMAT_VERSION", "read_yaml"]

FORMAT_VERSION = 1
"""Files say it as `version: 1`; without it they mean this one."""

_TOP = ("version", "name", "description", "policy", "limits", "workers", "defaults", "tasks")
_RUN = ("command", "shell")
_TASK = (*_RUN, *sorted(COMMAND_OPTIONS - {"shell"}))
_DEFAULTS = sorted(COMMAND_OPTIONS - {"shell", "after", "fallback", "stdin", "needs"})
_POLICY = tuple(one.name for one in fields(Policy))
_RETRY = {one.name.removesuffix("_s"): one.name for one in fields(Retry)}
_REFERENCE = re.compile(r"(\$?)\$\{\{(.*?)\}\}", re.DOTALL)

_Results = Mapping[str, Any]
_Made = Callable[[_Results], Any]
"""What becomes a value once the calls that it refers to are there, by name."""


@dataclass(slots=True)
class _Draft:
    """One task as it was read; `make` builds what refers to other tasks."""

    name: str
    node: Node
    options: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Node] = field(default_factory=dict)
    make: dict[str, _Made] = field(default_factory=dict)
    before: dict[str, Node] = field(default_factory=dict)


def read_yaml(text: str, path: str) -> Pipeline:
    """Return the pipeline that a YAML file describes.

    Args:
        text: the whole file.
        path: the file as the user named it, for messages.

    Raises:
        PipelineFileError: it does not parse, has an unknown key, or a value that is not allowed; with line and column.
        CycleError: tasks wait for one another in a ring; names it edge by edge.
    """
    return _Reader(Document(text, path)).pipeline()


class _Reader:
    """Reads one document, top down: the pipeline, its tasks, their options, references in text."""

    def __init__(self, document: Document) -> None:
        self.doc = document
        self.top = document.mapping(document.root, "the file", _TOP)
        self.names: Collection[str] = ()

    def pipeline(self) -> Pipeline:
        self._check_version()
        if "tasks" not in self.top:
            raise self.doc.error(self.doc.root, "the file holds no pipeline; it has no key 'tasks'.")
        defaults = self._defaults()
        entries = self.doc.mapping(self.top["tasks"].value, "'tasks'")
        if not entries:
            raise self.doc.error(self.top["tasks"].value, "'tasks' is empty; a pipeline has at least one task.")
        self.names = entries.keys()
        drafts = {name: self._draft(name, entry, defaults) for name, entry in entries.items()}
        calls: dict[str, Any] = {}
        for name in _in_order(drafts):
            calls[name] = self._call(drafts[name], calls)
        pipeline = self._empty()
        pipeline.record_all(tuple(calls[name] for name in drafts))  # the order of the file decides between equals
        return pipeline

    # ------------------------------------------------------------------------------------------- the whole pipeline

    def _check_version(self) -> None:
        if (entry := self.top.get("version")) is not None:
            version = self.doc.value(entry.value, "'version'")
            if version != FORMAT_VERSION or isinstance(version, bool):
                raise self.doc.error(
                    entry.value, f"version {version!r} is not understood; this penstock reads version {FORMAT_VERSION}."
                )

    def _empty(self) -> Pipeline:
        """Return the pipeline with all but its tasks."""
        name = self.doc.text(self.top["name"].value, "'name'") if "name" in self.top else "pipeline"
        if "description" in self.top:
            self.doc.text(self.top["description"].value, "'description'")
        limits = self._values("limits", "'limits'") if "limits" in self.top else None
        workers: Any = self.doc.value(self.top["workers"].value, "'workers'") if "workers" in self.top else None
        if workers is not None and (type(workers) is not int or workers < 1):
            raise self.doc.error(
                self.top["workers"].value, f"'workers' is {workers!r}; allowed is a whole number from 1 up."
            )
        policy = self._policy() if "policy" in self.top else None
        try:
            return Pipeline(name, policy=policy, limits=limits, workers=workers)
        except OptionError as error:
            raise self.doc.error(self.top["name"].value, str(error)) from None

    def _policy(self) -> Policy:
        """Return the policy: a preset's name, or a mapping with weights of one's own."""
        node = self.top["policy"].value
        try:
            if isinstance(node, yaml.MappingNode):
                return Policy(**self._values("policy", "'policy'", _POLICY))
            return resolve(self.doc.text(node, "'policy'"))
        except OptionError as error:
            raise self.doc.error(node, str(error)) from None

    def _values(self, key: str, what: str, allowed: Collection[str] | None = None) -> dict[str, Any]:
        return self._scalars(self.top[key].value, what, allowed)

    def _scalars(self, node: Node, what: str, allowed: Collection[str] | None = None) -> dict[str, Any]:
        entries = self.doc.mapping(node, what, allowed)
        return {key: self.doc.value(entry.value, f"{key!r} in {what}") for key, entry in entries.items()}

    # -------------------------------------------------------------------------------------------------------- tasks

    def _defaults(self) -> _Draft:
        """Return what every task has unless it says otherwise."""
        if "defaults" not in self.top:
            return _Draft("defaults", self.doc.root)
        draft = _Draft("defaults", self.top["defaults"].value)
        for key, entry in self.doc.mapping(draft.node, "'defaults'", _DEFAULTS).items():
            self._option(draft, key, entry.value, "'defaults'")
        if draft.before:
            raise self.doc.error(next(iter(draft.before.values())), "'defaults' cannot refer to the result of a task.")
        return draft

    def _draft(self, name: str, entry: Entry, defaults: _Draft) -> _Draft:
        what = f"task {name!r}"
        keys = self.doc.mapping(entry.value, what, _TASK)
        draft = _Draft(name, entry.key, dict(defaults.options), dict(defaults.places), dict(defaults.make))
        draft.make["argv"] = self._run(draft, keys, entry.value, what)
        for key, (_, node) in keys.items():
            if key not in _RUN:
                self._option(draft, key, node, what)
        if "env" in defaults.make and "env" in keys:
            inherited, own = defaults.make["env"], draft.make["env"]
            draft.make["env"] = lambda calls: {**inherited(calls), **own(calls)}
        return draft

    def _run(self, draft: _Draft, keys: Mapping[str, Entry], node: Node, what: str) -> _Made:
        """Return what makes the template's argv, shell flag and variables, from `command:` or `shell:`."""
        given = [key for key in _RUN if key in keys]
        if len(given) != 1:
            found = "both" if given else "neither"
            raise self.doc.error(
                node,
                f"{what} has {found} of 'command' and 'shell'; write one: command: [program, argument] or shell: text.",
            )
        value = keys[given[0]].value
        place = f"{given[0]!r} of {what}"
        if given[0] == "shell":
            return self._shell(draft, value, place)
        items = self.doc.items(value, place)
        if not items:
            raise self.doc.error(value, f"{place} is empty; the first item is the program.")
        parts = [self._text(draft, item, f"item {k} in {place}") for k, item in enumerate(items)]
        return lambda calls: CommandTemplate(tuple([part(calls) for part in parts]))

    def _fallback(self, draft: _Draft, node: Node, what: str) -> _Made:
        """Return what makes one fallback: a command, a shell line, or a fixed text in its place."""
        keys = self.doc.mapping(node, what, (*_RUN, "value"))
        if "value" not in keys:
            return self._run(draft, keys, node, what)
        if len(keys) > 1:
            raise self.doc.error(node, f"{what} has both of 'value' and a command; write one.")
        fixed = Value(self.doc.text(keys["value"].value, f"'value' of {what}"))
        return lambda _: fixed

    def _option(self, draft: _Draft, key: str, node: Node, what: str) -> None:
        place = f"{key!r} of {what}"
        draft.places[key] = node
        if key == "after":
            names = self._list(node, place)
            for name, at in names:
                self._refer(draft, name, at)
            draft.make[key] = lambda calls: [calls[name] for name, _ in names]
        elif key == "env":
            entries = self.doc.mapping(node, place)
            made = {name: self._text(draft, one.value, f"{name!r} in {place}") for name, one in entries.items()}
            draft.make[key] = lambda calls: {name: make(calls) for name, make in made.items()}
        elif key in ("cwd", "stdin"):
            draft.make[key] = self._text(draft, node, place)
        elif key == "fallback":
            nodes = self.doc.items(node, place) if isinstance(node, yaml.SequenceNode) else [node]
            places = [f"item {k} in {place}" for k in range(len(nodes))] if len(nodes) > 1 else [place]
            each = [self._fallback(draft, one, where) for one, where in zip(nodes, places, strict=True)]
            draft.make[key] = lambda calls: [make(calls) for make in each]
        elif key == "resources":
            draft.options[key] = self._scalars(node, place)
        elif key == "retry_on":
            draft.options[key] = [name for name, _ in self._list(node, place)]
        elif key == "retry":
            draft.options[key] = self._retry(node, place)
        else:
            draft.options[key] = self.doc.value(node, place)

    def _list(self, node: Node, what: str) -> list[tuple[str, Node]]:
        """Return the texts of a list, or of a single text."""
        nodes = [node] if isinstance(node, yaml.ScalarNode) else self.doc.items(node, what)
        return [(self.doc.text(item, f"item {k} in {what}"), item) for k, item in enumerate(nodes)]

    def _retry(self, node: Node, what: str) -> Retry:
        entries = self.doc.mapping(node, what, _RETRY)
        values: dict[str, Any] = {
            _RETRY[key]: self.doc.value(entry.value, f"{key!r} in {what}")
            for key, entry in entries.items()
            if key != "on"
        }
        if "on" in entries:
            values["on"] = tuple(name for name, _ in self._list(entries["on"].value, f"'on' in {what}"))
        try:
            return Retry(**values)
        except OptionError as error:
            raise self.doc.error(node, f"{what}: {error}") from None

    def _call(self, draft: _Draft, calls: _Results) -> Any:
        """Return the call of a task; those that it refers to are in `calls`."""
        made = {key: make(calls) for key, make in draft.make.items()}
        template: CommandTemplate = made.pop("argv")
        fallbacks: list[CommandTemplate | Value] | None = made.pop("fallback", None)
        around: dict[str, Any] = {key: made.pop(key) for key in ("env", "cwd", "stdin") if key in made}
        if fallbacks is not None:
            made["fallback"] = [one if isinstance(one, Value) else _surrounded(one, around) for one in fallbacks]
        if template.env:
            around["env"] = {**around.get("env", {}), **template.env}
        options: dict[str, Any] = {**draft.options, **made, **around, "shell": template.shell}
        argv = template.argv[0] if template.shell else template.argv
        try:
            return command(draft.name, argv, **options)  # type: ignore[arg-type]
        except (OptionError, ResourceError) as error:
            raise self.doc.error(self._culprit(draft), str(error)) from None

    def _culprit(self, draft: _Draft) -> Node:
        """Return the node of the option that is not allowed, found by trying each one alone."""
        for key, value in draft.options.items():
            alone: dict[str, Any] = {"retries": 1, key: value} if key == "retry_on" else {key: value}
            try:
                command(draft.name, ["true"], **alone)
            except (OptionError, ResourceError):
                return draft.places[key]
        return draft.places.get("retry_on", draft.node)

    # --------------------------------------------------------------------------------------------------- references

    def _text(self, draft: _Draft, node: Node, what: str) -> _Made:
        """Return what makes a text in which `${{ task.stdout }}` may stand."""
        pieces = self._pieces(draft, node, self.doc.text(node, what))
        if len(pieces) == 1 and isinstance(pieces[0], _Reference):
            only = pieces[0].task
            return lambda calls: calls[only]
        if not any(isinstance(piece, _Reference) for piece in pieces):
            fixed = "".join(map(str, pieces))
            return lambda _: fixed
        return lambda calls: Text(tuple([calls[one.task] if isinstance(one, _Reference) else one for one in pieces]))

    def _shell(self, draft: _Draft, node: Node, what: str) -> _Made:
        """Return what makes a shell line. A result gets there as a variable, so that no shell reads it as code."""
        pieces = self._pieces(draft, node, self.doc.text(node, what))
        tasks = list(dict.fromkeys(piece.task for piece in pieces if isinstance(piece, _Reference)))
        variables = {task: f"PENSTOCK_INPUT_{k}" for k, task in enumerate(tasks, start=1)}
        line = "".join(f"${{{variables[one.task]}}}" if isinstance(one, _Reference) else one for one in pieces)
        return lambda calls: CommandTemplate(
            (line,), shell=True, env={variable: calls[task] for task, variable in variables.items()}
        )

    def _pieces(self, draft: _Draft, node: Node, text: str) -> list[str | _Reference]:
        pieces: list[str | _Reference] = []
        position = 0
        for match in _REFERENCE.finditer(text):
            pieces.append(text[position : match.start()])
            position = match.end()
            if match[1]:  # $${{ is a plain ${{
                pieces.append(match[0][1:])
                continue
            inside = match[2].strip()
            task = inside.removesuffix(".stdout")
            if task == inside:
                raise self.doc.error(node, f"'{match[0]}' is not understood; write ${{{{ task.stdout }}}}.")
            self._refer(draft, task, node)
            pieces.append(_Reference(task))
        pieces.append(text[position:])
        return [piece for piece in pieces if piece != ""]

    def _refer(self, draft: _Draft, name: str, node: Node) -> None:
        if name not in self.names and draft.name in self.names:
            raise self.doc.error(
                node, f"task {draft.name!r} refers to task {name!r}, which is not here.{did_you_mean(name, self.names)}"
            )
        draft.before.setdefault(name, node)


@dataclass(frozen=True, slots=True)
class _Reference:
    """`${{ task.stdout }}`."""

    task: str


def _surrounded(template: CommandTemplate, around: Mapping[str, Any]) -> CommandTemplate:
    env = {**around.get("env", {}), **template.env}
    return CommandTemplate(template.argv, template.shell, env, around.get("cwd"), around.get("stdin"))


def _in_order(drafts: Mapping[str, _Draft]) -> list[str]:
    """Return the names so that each comes after those that it refers to.

    Raises:
        CycleError: there is a ring.
    """
    try:
        return list(graphlib.TopologicalSorter({name: draft.before for name, draft in drafts.items()}).static_order())
    except graphlib.CycleError as error:
        ring = error.args[1][:-1]
        first = min(range(len(ring)), key=lambda k: list(drafts).index(ring[k]))
        raise CycleError(ring[first:] + ring[:first]) from None
