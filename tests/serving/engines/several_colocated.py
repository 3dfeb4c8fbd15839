"""Started by torchrun: generate on an engine in this process, and write what all processes gave, each in a file."""

import json
import sys
from pathlib import Path

from selftaught.serving.engines.colocated import Colocated
from selftaught.serving.engines.engine import EngineOptions
from selftaught.serving.engines.transformers_server import Request, Settings
from selftaught.training.loops.processes import Processes


def main(model: Path, out: Path) -> None:
    """Two answers of each process, the second one's longer."""
    processes = Processes.joined()
    engine = Colocated(model, EngineOptions(context=256))
    prompt = engine.tokenizer("Two plus two is")["input_ids"]
    asked = Settings.of({"temperature": 1.0, "max_tokens": 4 + 12 * processes.number})
    answers = engine.drawn([Request(prompt, 2, asked)], seed=processes.number)[0]
    said = processes.collected([each["text"] for each in answers])
    (out / f"{processes.number}.json").write_text(json.dumps(said))
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
