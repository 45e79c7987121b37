"""Publish a dataset: gather what was written, balance the accounts, and write the manifest last."""

import penstock_dataprep
from penstock_dataprep.design import Design, make_features
from penstock_dataprep.job import Job
from penstock_dataprep.order.certificate import Moments, certify
from penstock_dataprep.order.split import Splitter
from penstock_dataprep.records.shard import WrittenShard
from penstock_dataprep.statistics.drift import drifts
from penstock_dataprep.statistics.facts import Facts
from penstock_dataprep.statistics.limits import check_limits
from penstock_dataprep.storage.files import create_bytes, exists, join, read_bytes, write_bytes
from penstock_dataprep.versions.append import LATE, Content, append
from penstock_dataprep.versions.card import render_card
from penstock_dataprep.versions.listing import Listing, measured, merged_sketches, read_listings, write_split
from penstock_dataprep.versions.provenance import git_commit
from penstock_dataprep.versions.tails import describe_tails
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared.digests import content_digest
from penstock_shared.errors import DataRefused, UserMistake
from penstock_shared.layout import RecordLayout
from penstock_shared.manifest import (
    FORMAT_MAJOR,
    FORMAT_MINOR,
    Accounting,
    Manifest,
    Shuffle,
    Table,
    dump_manifest,
    load_manifest,
)
from penstock_shared.origin import Parent, Tool
from penstock_shared.tails import TailFile
from penstock_shared.vocabularies import VocabularyShard

CARD_NAME = "card.html"


def publish_manifest(
    job: Job,
    facts: Facts,
    splitter: Splitter,
    design: Design,
    numberings: dict[str, Numbering],
    vocabulary_shards: list[tuple[str, int, VocabularyShard]],
    shards: list[WrittenShard],
    tail_files: list[TailFile],
    tables: dict[str, Table],
) -> str:
    """Write block indexes, statistics, card and manifest, and return the manifest's path.

    Raises DataRefused when the rows do not balance: then nothing is published.
    """
    own = {
        split: Listing.of(splitter.rule(split), [shard for shard in shards if shard.split == split])
        for split in design.shards
    }
    vocabularies = {
        name: numberings[name].entry(
            tuple(shard for owner, _, shard in sorted(vocabulary_shards, key=_position) if owner == name)
        )
        for name in job.vocabularies()
    }
    features = measured(make_features(job.outputs, design, facts), own.values())
    content = Content(
        listings=own,
        features=features,
        certificate=certify(_moments(design, shards)),
        accounting=_balanced(job, facts, own, facts.copies + sum(shard.copies for shard in shards)),
        rejects=facts.reject_files,
    )
    parent, sketches, drifted = job.parent, merged_sketches(own.values()), {}
    if parent is not None:
        older = read_listings(parent, job.base)
        drifted = drifts(merged_sketches(older.values()), sketches)
        content = append(content, parent, older, job.version, job.created, job.spec.split, job.spec.keep_last)
    check_limits(job.spec, sketches, drifted, tables)
    splits = {name: write_split(listing, name, job.base, job.version) for name, listing in content.listings.items()}
    tails = describe_tails(job, design, facts, tail_files)
    layout = RecordLayout(kind=job.spec.output.layout, rows_per_block=job.spec.output.rows_per_block)
    manifest = Manifest(
        format_version=f"{FORMAT_MAJOR}.{FORMAT_MINOR}",
        name=job.spec.name,
        version=job.version,
        created=job.created,
        fingerprint=job.fingerprint,
        digest=content_digest(content.features, layout, vocabularies, splits, content.increments, tables, tails),
        source=job.origin.entry(facts.read, job.source_columns),
        spec=job.spec.model_dump(mode="json", by_alias=True),
        features=content.features,
        vocabularies=vocabularies,
        tables=dict(sorted(tables.items())),
        layout=layout,
        splits=splits,
        shuffle=Shuffle(seed=job.spec.shuffle.seed, method="keyed-hash/1", certificate=content.certificate),
        accounting=content.accounting,
        rejects=content.rejects,
        tool=Tool(version=penstock_dataprep.__version__, git_commit=git_commit(), runner=job.runner),
        parent=None if parent is None else Parent(version=parent.version, digest=parent.digest),
        increments=content.increments,
        drift=drifted,
        tails=tails,
    )
    _publish(job.manifest_path, manifest)
    return job.manifest_path


def _publish(path: str, manifest: Manifest) -> None:
    """Write card and manifest, unless another build has published the version: of several builds one does."""
    content = dump_manifest(manifest).encode("utf-8")
    try:
        if exists(path):
            raise FileExistsError(path)
        write_bytes(join(path.rpartition("/")[0], CARD_NAME), [render_card(manifest).encode("utf-8")])
        create_bytes(path, content)
    except FileExistsError:
        found = read_bytes(path)
        if found == content:
            return  # It was this build: a runner tried the step again, or the answer to the upload was lost.
        digest = load_manifest(found, path).digest
        same = "the same content" if digest == manifest.digest else f"content digest {digest}, not {manifest.digest}"
        raise UserMistake(f"{path}: another build published this version first, with {same}; use that one") from None


def _balanced(job: Job, facts: Facts, own: dict[str, Listing], copies: int) -> Accounting:
    written, filtered = sum(listing.source_rows for listing in own.values()), copies + facts.late
    if written + filtered != facts.valid:
        raise DataRefused(
            f"{job.folder}: the rows do not balance: {facts.read} read, {facts.rejected.total()} rejected, "
            f"{filtered} filtered, but {written} written; nothing was published. Did the source change meanwhile?"
        )
    return Accounting(
        read=facts.read,
        written=written,
        filtered={
            **({"duplicate": copies} if job.spec.duplicates == "drop" else {}),
            **({LATE: facts.late} if facts.late else {}),
        },
        rejected=dict(sorted(facts.rejected.items())),
    )


def _moments(design: Design, shards: list[WrittenShard]) -> dict[str, list[dict[str, Moments]]]:
    ordered = sorted(shards, key=lambda shard: shard.position)
    return {split: [shard.moments for shard in ordered if shard.split == split] for split in design.shards}


def _position(entry: tuple[str, int, VocabularyShard]) -> tuple[str, int]:
    return entry[0], entry[1]
