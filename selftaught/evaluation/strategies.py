"""The inference strategies that metrics measure, looked up where samplers register: no step imports another."""

from selftaught.blocks import Sampler, registered


def iid(k: int, temperature: float, max_tokens: int) -> Sampler:
    """The `iid` sampler block: `k` independent samples a task, of at most `max_tokens` new tokens each."""
    block = registered("sample")["iid"].model_validate({"k": k, "temperature": temperature, "max_tokens": max_tokens})
    assert isinstance(block, Sampler)
    return block
