"""Say how big images are: `python3.11 scripts/image_sizes.py "docker image inspect" IMAGE…`. Standard library only.

An image for CPUs above 3 GB is a warning: torch's libraries for CUDA are in it, which no CPU can use.
"""

import shlex
import subprocess
import sys

MOST_FOR_CPUS = 3e9
FIX = """\
  CUDA's libraries are in it, because no index of the build had PyTorch's build of torch for CPUs. Give it one:
  make images TORCH_INDEX=URL, PyTorch's own index for CPUs or a mirror of it; or its wheel in a folder that pip's
  find-links names inside the build. Then this is a third of the size."""


def main(inspect: str, images: list[str]) -> None:
    """Print a line for each of `images`, of which the command `inspect` tells the bytes."""
    for image in images:
        command = [*shlex.split(inspect), "--format", "{{.Size}}", image]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        # Whoever builds may hand images on without being able to say more of them.
        print(f"{image}: its size is not known" if process.returncode else line(image, int(process.stdout)))


def line(image: str, size: int) -> str:
    """How big `image` is, in bytes, and if that is too much, why and what to do.

    >>> line("localhost/selftaught/steps:0.1.0", 812_000_000)
    'localhost/selftaught/steps:0.1.0: 0.8 GB'
    """
    text = f"{image}: {size / 1e9:.1f} GB"
    name = image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    if name.endswith("-cuda") or size <= MOST_FOR_CPUS:
        return text
    return f"{text}\nWARNING: more than {MOST_FOR_CPUS / 1e9:.0f} GB is too much for an image for CPUs.\n{FIX}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
