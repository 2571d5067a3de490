"""The guard against features that give a label away."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from contract.arrays import SideArrays
from contract.encoding import Encoder
from contract.features import Categorical, FeatureSchema, Hashed, Numeric, Piecewise, Sequence, Standard
from training.config import TrainConfig
from training.data.columns import EncodedSplit, encode_split
from training.data.format import DatasetWriter, FieldDeclaration, LabelDeclaration, open_dataset
from training.data.leaks import evidence, refuse_leaks
from training.data.schema import fit_schema
from training.data.simulator import prepare
from training.data.sources import locate_raw, prepare_dataset
from training.errors import DataError, InvalidOption, LabelLeak
from training.models.base import ModelConfig
from training.pipeline import train_and_publish

ROWS = 4_000
RNG = np.random.default_rng(0)
CLICK = (RNG.random(ROWS) < 0.1).astype(np.float32)
SECONDS = np.where(CLICK > 0, RNG.lognormal(3, 1, ROWS), np.nan).astype(np.float32)
STANDARD = Standard(mean=0.0, std=1.0)
BINARY = LabelDeclaration(name="ctr", kind="binary")
DURATION = LabelDeclaration(name="duration", kind="duration", given="ctr")


def _schema(**fields):
    made = {
        "number": lambda name: Numeric(name=name, side="candidate", scaling=STANDARD),
        "id": lambda name: Categorical(name=name, side="candidate", dtype="int", table=name),
        "many": lambda name: Hashed(name=name, side="candidate", dtype="int", table=name, buckets=10**6),
        "list": lambda name: Sequence(name=name, side="candidate", dtype="int", table=name, max_length=2),
    }
    return FeatureSchema(
        fields=(Numeric(name="hour", side="request", scaling=STANDARD), *(made[k](n) for n, k in fields.items())),
        vocabularies={name: (1, 2) for name, kind in fields.items() if kind in ("id", "list")},
    )


def _split(*, dense=None, ids=None, labels=None, lists=ROWS, hour=None):
    nothing = np.zeros((ROWS, 0))
    return EncodedSplit(
        request=SideArrays(
            ids=np.zeros((lists, 0), np.int64),
            dense=RNG.normal(size=(lists, 1)) if hour is None else hour[:, None],
        ),
        candidate=SideArrays(
            ids=nothing.astype(np.int64) if ids is None else np.asarray(ids).reshape(ROWS, -1),
            dense=nothing if dense is None else np.asarray(dense).reshape(ROWS, -1),
        ),
        offsets=np.linspace(0, ROWS, lists + 1).astype(np.int64),
        labels=labels or {"ctr": CLICK, "duration": SECONDS},
        groups=np.zeros(lists, np.int64),
    )


def _refused(schema, split, label=BINARY, **options):
    with pytest.raises(LabelLeak) as caught:
        refuse_leaks(schema, split, [label], **options)
    return str(caught.value)


@pytest.fixture(scope="module")
def ali_ccp(tmp_path_factory):
    """The simulator's data with a copy of a label among its sparse features, as torch-rechub#56 had it."""
    folder = tmp_path_factory.mktemp("leaky")
    honest = prepare(folder / "honest", rows=3_000, seed=1)
    leaky = FieldDeclaration(name="ctcvr_label", side="candidate", kind="categorical", dtype="int")
    info = honest.info.model_copy(update={"name": "leaky", "fields": (*honest.info.fields, leaky), "splits": {}})
    with DatasetWriter(folder / "leaky", info) as writer:
        for split in honest.info.splits:
            for table in honest.row_groups(split):
                writer.write(split, table.append_column("ctcvr_label", table["ctr"]))
        writer.write_items(pq.read_table(honest.items_path))
    return open_dataset(folder / "leaky")


SMALL = TrainConfig(data="leaky", arch="shared_bottom", epochs=1, model=ModelConfig(embedding_dim=4, hidden=(8,)))


def test_a_label_among_the_features_stops_the_run_where_torch_rechub_56_reported_an_auc_of_1(ali_ccp, tmp_path):
    """torch-rechub#56: ESMM on all of Ali-CCP had AUC 1.0, for the sparse features held a copy of the cvr label."""
    with pytest.raises(LabelLeak, match=r"'ctcvr_label' alone gives away label 'ctr' \(AUC 1\.0000\)") as caught:
        train_and_publish(ali_ccp, SMALL, tmp_path, name="m")

    assert caught.value.code == "label_leak"
    assert "--allow-leak" in caught.value.fix
    assert isinstance(caught.value, DataError)
    assert not list(tmp_path.iterdir())


def test_who_knows_better_may_allow_the_field(ali_ccp, tmp_path):
    config = SMALL.model_copy(update={"allow_leaks": ("ctcvr_label",)})

    bundle = train_and_publish(ali_ccp, config, tmp_path, name="m")

    assert bundle.manifest.provenance.config["allow_leaks"] == ["ctcvr_label"]


def test_allowing_a_field_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(InvalidOption, match="'price' to allow; fields are: hour"):
        refuse_leaks(_schema(), _split(), [BINARY], allowed=["price"])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_number_that_separates_the_classes_is_refused_whichever_way_it_points(sign):
    said = _refused(_schema(x="number"), _split(dense=sign * (CLICK * 3 + RNG.random(ROWS))))

    assert "feature 'x'" in said
    assert "label 'ctr'" in said


def test_a_number_that_is_only_there_after_a_click_is_refused_though_its_size_says_nothing():
    """Missing values take the median, amid those of the clicked rows: ranks alone see an AUC of one half."""
    filled = np.where(CLICK > 0, RNG.normal(size=ROWS), 0.0)

    assert "'dwell'" in _refused(_schema(dwell="number"), _split(dense=filled))


@pytest.mark.parametrize("kind", ["id", "many", "list"])
def test_an_id_that_stands_for_the_label_is_refused(kind):
    ids = np.stack([CLICK.astype(np.int64) + 2, np.zeros(ROWS, np.int64)], axis=1)

    said = _refused(_schema(x=kind), _split(ids=ids if kind == "list" else ids[:, 0]))

    assert "AUC 1.0000" in said


def test_an_id_of_each_row_does_not_trip_the_guard():
    """Each fits its own label perfectly, and none tells anything of another row."""
    schema, split = _schema(row="many"), _split(ids=np.arange(2, ROWS + 2))

    found = {each.feature: each.figure for each in evidence(schema, split, BINARY)}

    refuse_leaks(schema, split, [BINARY])
    assert found["row"] == 0.5


@pytest.mark.parametrize("turned", [False, True])
def test_a_duration_among_the_features_is_refused_on_the_rows_that_have_one(turned):
    logged = np.nan_to_num(np.log1p(SECONDS), nan=7.0) * (-1 if turned else 1)
    said = _refused(_schema(read="number"), _split(dense=logged), DURATION)

    assert "feature 'read' alone gives away label 'duration'" in said
    assert ("Spearman -1.0000" if turned else "Spearman 1.0000") in said


def test_the_same_holds_of_counts_and_values():
    counts = RNG.poisson(30, ROWS).astype(np.float32)
    for kind in ("count", "regression"):
        label = LabelDeclaration(name="plays", kind=kind)
        said = _refused(_schema(x="number"), _split(dense=counts, labels={"plays": counts}), label)

        assert "'plays'" in said


def test_a_number_in_bins_is_judged_as_the_one_number_that_it_was():
    raw = CLICK * 3 + RNG.random(ROWS)
    number = Numeric(name="x", side="candidate", scaling=Piecewise(points=(0.0, 0.5, 2.0, 4.0)))
    noise = Numeric(name="noise", side="candidate", scaling=Piecewise(points=(0.0, 1.0, 2.0)))
    schema = FeatureSchema(fields=(noise, number))
    encoded = Encoder(schema).encode("candidate", {"noise": RNG.random(ROWS) * 2, "x": raw}, ROWS)

    found = {each.feature: each.strength for each in evidence(schema, _split(dense=encoded.dense), BINARY)}

    assert found["x"] == pytest.approx(1.0)
    assert found["noise"] < 0.6


def test_every_leak_is_named_at_once():
    said = _refused(_schema(x="number", y="number"), _split(dense=np.stack([CLICK, 1 - CLICK], axis=1)))

    assert "'x'" in said
    assert "'y'" in said


def test_a_leak_on_the_requests_side_is_seen():
    lists = ROWS // 4
    hour = RNG.random(lists)
    label = np.repeat(hour > 0.8, 4).astype(np.float32)

    assert "'hour'" in _refused(_schema(), _split(lists=lists, hour=hour, labels={"ctr": label}))


def test_strong_and_honest_features_pass():
    strong = CLICK * 3.0 + RNG.normal(size=ROWS)
    schema, split = _schema(x="number"), _split(dense=strong)

    refuse_leaks(schema, split, [BINARY, DURATION])

    assert max(each.strength for each in evidence(schema, split, BINARY)) > 0.97


def test_too_few_rows_of_a_class_are_no_evidence():
    rare = np.zeros(ROWS, np.float32)
    rare[:5] = 1.0

    assert evidence(_schema(x="number"), _split(dense=rare, labels={"ctr": rare}), BINARY) == []


def test_a_label_without_a_row_is_no_evidence():
    split = _split(dense=CLICK, labels={"duration": np.full(ROWS, np.nan, np.float32)})

    assert evidence(_schema(x="number"), split, DURATION) == []


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows", "at_least"), [("census-a", 60_000, 0.95), ("ebnerd", 60_000, 0.6), ("kuairand", None, 0.7)]
)
def test_the_strong_features_of_real_data_pass(name, rows, at_least, tmp_path):
    try:
        locate_raw(name)
    except DataError as error:
        pytest.skip(str(error))
    dataset = prepare_dataset(name, tmp_path / "data", rows=rows)
    schema = fit_schema(dataset)
    train = encode_split(dataset, "train", schema, tmp_path / "train")

    refuse_leaks(schema, train, dataset.info.labels)

    binary = [label for label in dataset.info.labels if label.kind == "binary"]
    strongest = max(each.strength for label in binary for each in evidence(schema, train, label))
    assert at_least < strongest < 0.99
