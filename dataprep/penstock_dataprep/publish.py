"""Publish a dataset: gather what was written, balance the accounts, and write the manifest last."""

import datetime

import numpy as np

import penstock_dataprep
from penstock_dataprep.card import render_card
from penstock_dataprep.certificate import certify
from penstock_dataprep.design import Design, make_features
from penstock_dataprep.facts import Facts
from penstock_dataprep.job import Job
from penstock_dataprep.numbering import Numbering
from penstock_dataprep.provenance import git_commit
from penstock_dataprep.shard import WrittenShard
from penstock_dataprep.sketch import merge_sketches, statistics
from penstock_dataprep.split import Splitter
from penstock_dataprep.storage import join, write_bytes
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.layout import RecordLayout
from penstock_shared.manifest import (
    FORMAT_MAJOR,
    FORMAT_MINOR,
    Accounting,
    File,
    Manifest,
    Shuffle,
    Source,
    Split,
    Tool,
    VocabularyShard,
    content_digest,
    dump_manifest,
)
from penstock_shared.sketches import SplitSketches

CARD_NAME = "card.html"


def publish_manifest(
    job: Job,
    facts: Facts,
    splitter: Splitter,
    design: Design,
    numberings: dict[str, Numbering],
    vocabulary_shards: list[tuple[str, int, VocabularyShard]],
    shards: list[WrittenShard],
) -> str:
    """Write block indexes, card and manifest, and return the manifest's path.

    Raises DataRefused when the rows do not balance: then nothing is published.
    """
    splits = {
        split: _publish_split(job, split, splitter.rule(split), [shard for shard in shards if shard.split == split])
        for split in design.shards
    }
    vocabularies = {
        name: numberings[name].entry(
            tuple(shard for owner, _, shard in sorted(vocabulary_shards, key=_position) if owner == name)
        )
        for name in job.spec.vocabularies()
    }
    features = tuple(_measured(feature, shards) for feature in make_features(job.targets, design, facts))
    layout = RecordLayout(kind=job.spec.output.layout, rows_per_block=job.spec.output.rows_per_block)
    copies = sum(shard.copies for shard in shards)
    written = sum(split.rows for split in splits.values())
    if written + copies != facts.valid:
        raise DataRefused(
            f"{job.folder}: the rows do not balance: {facts.read} read, {facts.rejected.total()} rejected, "
            f"{copies} filtered, but {written} written; nothing was published. Did the source change during the build?"
        )
    moments = {
        split: [shard.moments for shard in sorted(shards, key=lambda shard: shard.position) if shard.split == split]
        for split in design.shards
    }
    certificate = certify(moments)
    manifest = Manifest(
        format_version=f"{FORMAT_MAJOR}.{FORMAT_MINOR}",
        name=job.spec.name,
        version=job.version,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        fingerprint=job.fingerprint,
        digest=content_digest(features, layout, vocabularies, splits),
        source=Source(
            kind="files",
            format=job.spec.source.format,
            files=job.files,
            rows=facts.read,
            bytes=sum(file.bytes for file in job.files),
            columns=job.source_columns,
        ),
        spec=job.spec.model_dump(mode="json", by_alias=True),
        features=features,
        vocabularies=vocabularies,
        layout=layout,
        splits=splits,
        shuffle=Shuffle(seed=job.spec.shuffle.seed, method="keyed-hash/1", certificate=certificate),
        accounting=Accounting(
            read=facts.read,
            written=written,
            filtered={"duplicate": copies} if job.spec.duplicates == "drop" else {},
            rejected=dict(sorted(facts.rejected.items())),
        ),
        rejects=facts.reject_files,
        tool=Tool(version=penstock_dataprep.__version__, git_commit=git_commit(), runner=job.runner),
    )
    write_bytes(join(job.folder, CARD_NAME), [render_card(manifest).encode("utf-8")])
    write_bytes(job.manifest_path, [dump_manifest(manifest).encode("utf-8")])
    return job.manifest_path


def _measured(feature: Feature, shards: list[WrittenShard]) -> Feature:
    ordered = sorted(shards, key=lambda shard: (shard.split, shard.position))
    merged = merge_sketches([shard.sketches[feature.name] for shard in ordered])
    return feature.model_copy(update={"statistics": statistics(feature, merged)})


def _publish_split(job: Job, split: str, rule: str, shards: list[WrittenShard]) -> Split:
    ordered = sorted(shards, key=lambda shard: shard.position)
    offsets = np.array([offset for shard in ordered for offset in shard.block_offsets], "<u8")
    path = f"{job.version}/{split}/blocks.u64"
    size, crc32c = write_bytes(join(job.base, path), [offsets.tobytes()])
    sketches = SplitSketches(shards=tuple(shard.sketches for shard in ordered))
    statistics_path = f"{job.version}/{split}/statistics.json"
    held = write_bytes(join(job.base, statistics_path), [sketches.model_dump_json().encode("utf-8")])
    return Split(
        rule=rule,
        rows=sum(shard.shard.rows for shard in ordered),
        blocks=len(offsets),
        bytes=sum(shard.shard.bytes for shard in ordered),
        shards=tuple(shard.shard for shard in ordered),
        block_index=File(path=path, bytes=size, crc32c=crc32c),
        statistics=File(path=statistics_path, bytes=held[0], crc32c=held[1]),
    )


def _position(entry: tuple[str, int, VocabularyShard]) -> tuple[str, int]:
    return entry[0], entry[1]
