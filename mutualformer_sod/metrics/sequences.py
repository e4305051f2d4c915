"""Average the scores over the sequences of a video set with equal weights."""

from mutualformer_sod.metrics.results import Results


def add_sequence_means(results: Results) -> None:
    """Add the mean scores of the sets in each parent folder as another set, in place.

    The mean of VIDEOS/walk and VIDEOS/drive is "VIDEOS (2 sequences)". The mean of sets without a
    parent folder is "all (N sequences)". A method without scores on a sequence has a mark instead
    of the mean.
    """
    for method in list(results.marks):
        groups: dict[str, list[str]] = {}
        for name in results.marks[method]:
            groups.setdefault(name.rpartition("/")[0], []).append(name)
        for parent, names in groups.items():
            if len(names) > 1:
                title = f"{parent or 'all'} ({len(names)} sequences)"
                _add_mean(results, method, title, names)


def _add_mean(results: Results, method: str, title: str, names: list[str]) -> None:
    scored = [s for s in map(results.scores.get(method, {}).get, names) if s]
    if len(scored) < len(names):
        results.add(method, title, {}, [f"{len(scored)} of {len(names)} sequences have scores"])
        return
    shared = [key for key in scored[0] if all(key in scores for scores in scored)]
    means = {key: sum(scores[key] for scores in scored) / len(scored) for key in shared}
    results.add(method, title, means | {"images": sum(s["images"] for s in scored)}, [])
