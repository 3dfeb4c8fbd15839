"""One node's part in a training on several: `python -m selftaught.round.distributed.node NAME`, in the pods of a
TrainJob.

Kubeflow Trainer tells torchrun of the other nodes, in variables called PET_*. The first node answers for all. Nodes
that have no disk in common write no checkpoints: a TrainJob whose pods were lost begins again.
"""

import os
import sys
from pathlib import Path

from selftaught.blocks import TrainResult
from selftaught.core.errors import BadInput, SelftaughtError, Unavailable
from selftaught.round.distributed.request import TrainRequest, encode_error
from selftaught.round.distributed.trainjob import Answer, TrainJobRequest, claim
from selftaught.round.mlflow_model import put_model
from selftaught.round.step import step
from selftaught.settings import Settings
from selftaught.state.store import Store, open_store
from selftaught.state.weights import check_model, model_digest


def main() -> None:
    """Do this node's part of the TrainJob NAME."""
    settings = Settings.load()
    with step("train"):
        run(open_store(settings.store), settings.home, sys.argv[1])


def run(store: Store, home: Path, name: str) -> None:
    """Train with the other nodes; the first one puts the model and the answer into the store, any what it raised.

    Raises BadInput when there is no such order, Unavailable when a process was killed, and as the objective does.
    """
    order = store.claimed(claim(name, "order"))
    if order is None:
        raise BadInput(f"{store.root}: holds no order {name}. Does the train step use the same SELFTAUGHT_STORE?")
    work = TrainJobRequest.model_validate_json(order).work(store, home)
    ended_well = work.torchrun()
    if os.environ["PET_NODE_RANK"] == "0" or not ended_well:
        result = _result(store, name, work)
        check_model(work.out)
        digest = model_digest(work.out)
        put_model(store, digest, work.out)
        store.claim(claim(name, "answer"), Answer(digest=digest, result=result).model_dump_json().encode())


def _result(store: Store, name: str, work: TrainRequest) -> TrainResult:
    try:
        return work.answer()
    except Unavailable:
        raise  # its words are in the log of the node whose process ended
    except SelftaughtError as error:
        store.claim(claim(name, "failure"), encode_error(error).encode())
        raise


if __name__ == "__main__":
    main()
