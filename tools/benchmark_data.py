"""Entry point of `mutualformer-sod benchmark-data`."""

from entry import run_command

if __name__ == "__main__":
    run_command("benchmark_data")
