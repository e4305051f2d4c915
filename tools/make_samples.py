"""Entry point of `mutualformer-sod make-samples`."""

from entry import run_command

if __name__ == "__main__":
    run_command("make_samples")
