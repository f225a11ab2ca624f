"""Typed settings: from files, environment and flags; checked, explained, compared, watched."""

from __future__ import annotations

from hitless.config.diff import diff
from hitless.config.directory import ConfDirectory
from hitless.config.document import Data, Document
from hitless.config.explain import Row, explain
from hitless.config.ini import IniFile, Multi
from hitless.config.keys import KeyPath, dotted
from hitless.config.load import Loaded, load
from hitless.config.plain import plain
from hitless.config.problems import ConfigError, Problem, SourceUnreachable
from hitless.config.secret import Secret
from hitless.config.secrets import MASK, is_secret_name, shown
from hitless.config.sources import Environment, Flags, Layer, Origin, Source, TomlFile, Version, file_layer
from hitless.config.units import Bytes, FileMode, Seconds, parse_bytes, parse_file_mode, parse_seconds
from hitless.config.watch import Changed, Watcher

__all__ = [
    "MASK",
    "Bytes",
    "Changed",
    "ConfDirectory",
    "ConfigError",
    "Data",
    "Document",
    "Environment",
    "FileMode",
    "Flags",
    "IniFile",
    "KeyPath",
    "Layer",
    "Loaded",
    "Multi",
    "Origin",
    "Problem",
    "Row",
    "Seconds",
    "Secret",
    "Source",
    "SourceUnreachable",
    "TomlFile",
    "Version",
    "Watcher",
    "diff",
    "dotted",
    "explain",
    "file_layer",
    "is_secret_name",
    "load",
    "parse_bytes",
    "parse_file_mode",
    "parse_seconds",
    "plain",
    "shown",
]
