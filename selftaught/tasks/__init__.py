"""The first step: where tasks come from, how they are split, and proof that the splits do not overlap.

Each source is a block in a file of its own (`word_problems`, `reasoning_gym`, `jsonl`, `parquet`, `huggingface`).
`splits` says what it means that two tasks are the same problem and which set a problem belongs to, `contamination`
checks the sets against each other without trusting the sources, and `prepare` is the step's runner.
"""
