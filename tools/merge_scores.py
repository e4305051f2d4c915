"""Entry point of `mutualformer-sod merge-scores`."""

from entry import run_command

if __name__ == "__main__":
    run_command("merge_scores")
