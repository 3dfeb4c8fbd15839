"""Why an engine did not start: the cause in logs as vLLM 0.32 wrote them, and what is refused before it is started."""

import socket
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput, SelftaughtError
from selftaught.serving.engines.engine import reserve, why
from selftaught.serving.engines.pool import LocalEngines

ULIMIT = "(APIServer pid=7) WARNING This can cause fd limit errors like `OSError: [Errno 24] Too many open files`.\n"
LOGS = {
    "incomplete metadata, file not fully covered": """\
(EngineCore pid=9) ERROR 11-21 11:12:34 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=9) ERROR 11-21 11:12:34 [core.py:1510] safetensors._safetensors_rust.SafetensorError: Error while \
deserializing header: incomplete metadata, file not fully covered
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
""",
    "model type `llema`": """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, The checkpoint you are trying to load has model type `llema` but Transformers does not recognize it.

 [type=value_error, input_value=ArgsKwargs((), {'model': ...nderer_num_workers': 1}), input_type=ArgsKwargs]
""",
    r"max_model_len \(100000\) is greater than the derived max_model_len": """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (100000) is greater than the derived max_model_len [type=value_error, inp]
""",
    r"requested memory for kv \(400.0 GiB\)": """\
ValueError: Available memory on node 0 (14.66/18.46 GiB) is less than requested memory for kv (400.0 GiB).
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
""",
}


@pytest.mark.parametrize("cause", LOGS)
def test_the_first_cause_in_the_log_is_told(cause: str, tmp_path: Path):
    log = tmp_path / "engine.log"
    log.write_text(ULIMIT + LOGS[cause])
    error = why(tmp_path / "model", log)
    assert isinstance(error, BadInput)
    with pytest.raises(BadInput, match=f"model: cannot be served: .*{cause}") as found:
        raise error
    assert str(log) in str(found.value)
    assert "OSError" not in str(found.value)
    assert "input_value" not in str(found.value)


def test_an_engine_that_was_killed_leaves_its_last_words(tmp_path: Path):
    log = tmp_path / "engine.log"
    log.write_text(ULIMIT + "Loading weights\nlaunch: the engine ends (exit status -9)\n")
    with pytest.raises(SelftaughtError, match=r"out of memory\?.*Loading weights.*exit status -9"):
        raise why(tmp_path / "model", log)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path):
    with LocalEngines(tmp_path) as engines, pytest.raises(BadInput, match=r"config\.json"):
        engines.deploy("rft", "abcd1234", tmp_path / "nothing")


def test_a_port_that_is_taken_is_named(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken, LocalEngines(tmp_path) as engines:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=rf"port {port} on 127\.0\.0\.1: Address already in use"):
            engines.deploy("rft", "abcd1234", tmp_path, port=port)


def test_a_reserved_port_is_given_to_nobody_else_and_can_be_served_on():
    reservation = reserve(0)
    port = reservation.getsockname()[1]
    others = [reserve(0) for _ in range(200)]
    assert port not in {other.getsockname()[1] for other in others}
    with socket.create_server(("127.0.0.1", port)) as server:  # as engines bind: SO_REUSEADDR, then listen
        assert server.getsockname()[1] == port
    for one in (reservation, *others):
        one.close()
