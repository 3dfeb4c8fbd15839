"""What an engine computes in: as its model is stored, but float32 on a CPU that emulates 16 bits."""

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


def test_this_processor_is_taken_for_what_onednn_takes_it_for():
    import torch

    assert precision.computes_16_bits() == torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.model
def test_vllm_is_given_the_type_that_this_machine_computes_in(starter_model, vllm_arguments):
    ours = ["--model", str(starter_model), "--dtype", "auto", "--port", "1"]
    more = [] if precision.on_cpu("auto") == "auto" else ["--dtype", "float32"]
    assert vllm_arguments(*ours) == ["vllm", *ours, *more]


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
