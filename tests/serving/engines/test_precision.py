"""What an engine computes in: as its model is stored, but float32 on a CPU that emulates 16 bits."""

from pathlib import Path

import pytest

from selftaught.serving.engines import precision

EMULATED = "selftaught.serving.engines.precision.computes_16_bits"


@pytest.mark.parametrize(("computes", "auto"), [(True, "auto"), (False, "float32")])
def test_auto_is_float32_where_16_bits_are_emulated(monkeypatch, computes, auto):
    monkeypatch.setattr(EMULATED, lambda: computes)
    assert precision.on_cpu("auto") == auto


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_what_the_settings_say_is_computed_in_whatever_the_processor(monkeypatch, dtype):
    monkeypatch.setattr(EMULATED, lambda: False)
    assert precision.on_cpu(dtype) == dtype


def test_a_processor_without_avx_512_emulates_16_bits():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    # x86 lists avx512f, ARM bf16; what a hypervisor hides is not there for oneDNN either
    assert precision.computes_16_bits() == bool(flags & {"avx512bw", "bf16"})


@pytest.mark.model
def test_vllm_is_given_the_type_that_this_machine_computes_in(starter_model, vllm_arguments):
    arguments = vllm_arguments("--model", str(starter_model), "--dtype", "auto", "--port", "1")
    assert arguments[arguments.index("--dtype") + 1] == precision.on_cpu("auto")
    assert arguments.count("--dtype") == arguments.count("--model") == 1
    assert arguments[-2:] == ["--port", "1"]


@pytest.fixture
def vllm_arguments(monkeypatch):
    """What vLLM's server would see as its arguments, for those of ours."""

    def seen(*words: str) -> list[str]:
        given: list[str] = []
        monkeypatch.setattr("runpy.run_module", lambda *_, **__: given.extend(vllm_server.sys.argv))
        monkeypatch.setattr(vllm_server.sys, "argv", ["server"])
        monkeypatch.setattr(vllm_server, "prove_loaded", lambda _: None)
        vllm_server.main(list(words))
        return given

    from selftaught.serving.engines import vllm_server

    return seen
