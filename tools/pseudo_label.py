"""Entry point of `mutualformer-sod pseudo-label`."""

from entry import run_command

if __name__ == "__main__":
    run_command("pseudo_label")
