"""The kinds of data set, and the record that each holds one of a row."""

from collections.abc import Mapping

from selftaught.records.base import Record
from selftaught.records.example import Example
from selftaught.records.group import Group
from selftaught.records.score import TaskScore
from selftaught.records.task import Task

RECORDS: Mapping[str, type[Record]] = {"tasks": Task, "groups": Group, "examples": Example, "scores": TaskScore}
