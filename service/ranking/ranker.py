"""The life of a rank request, top to bottom."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from contract.arrays import FloatArray, GraphInputs, Predictions
from contract.encoding import numeric_column
from contract.errors import FormulaError
from contract.features import FeatureSchema
from service.errors import InvalidField
from service.ports import (
    Assigner,
    Clock,
    FusionSource,
    ItemRows,
    ModelCatalog,
    NoExperiments,
    Ranked,
    RequestSampler,
    Scorer,
    ServedModel,
    StageObserver,
)
from service.ranking.explaining import explanation_of
from service.ranking.ordering import order_by_score
from service.ranking.query import RankQuery, RankResult
from service.ranking.reservoir import NoSampler
from service.ranking.stopwatch import Stopwatch

__all__ = ["Ranker"]


class Ranker:
    """Ranks the candidates of a request.

    Args:
        catalog: Where models come from.
        fusions: Where fusion profiles come from.
        observer: Told of every ranked request.
        clock: Monotonic seconds.
        sampler: Offered every request, for previews; None keeps none.
        experiments: Puts requests into arms.
    """

    def __init__(
        self,
        *,
        catalog: ModelCatalog,
        fusions: FusionSource,
        observer: StageObserver,
        clock: Clock,
        sampler: RequestSampler | None = None,
        experiments: Assigner | None = None,
    ) -> None:
        self._catalog = catalog
        self._fusions = fusions
        self._observer = observer
        self._clock = clock
        self._sampler = sampler or NoSampler()
        self._experiments = experiments or NoExperiments()

    async def rank(self, query: RankQuery) -> RankResult:
        """Encode, infer, fuse and order; ONE model and ONE fusion revision are used from start to end.

        Raises:
            ServiceError: Any of its family but the admin errors.
            ContractError: When a feature or a score breaks the contract.
        """
        watch = Stopwatch(self._clock, {"decode": query.decode_s})
        assigned = self._experiments.assign(query)
        model = self._catalog.current(assigned.model)
        in_force = self._fusions.current(assigned.profile, model)
        fusion = in_force.fusion
        _check_weights(query, fusion)
        model.check_room(rows=len(query.item_ids), deadline=query.deadline)

        with watch.stage("encode_features"):
            items = await model.items.fetch(query.item_ids)
            request = model.encoder.encode_request(query.request)
            candidates = model.encoder.overlay(items.encoded, query.candidates, path="/candidates")
            inputs = GraphInputs.single(request, candidates, items.rows_unless_changed(candidates))

        inference = await model.predict(inputs, deadline=query.deadline)
        watch.add("queue", inference.queue_s)
        watch.add("infer", inference.infer_s)
        # Before the scores: requests that the fusion in force refuses are traffic too.
        self._sampler.offer(model=model, request=query, by=assigned, heads=inference.heads, stored=items.numbers)

        values_of = partial(_formula_values, query, model.manifest.features, items, inference.heads)
        with watch.stage("fuse"):
            values = values_of(fusion)
            scores, non_finite = fusion.score(values, len(query.item_ids), weights=assigned.weights)
            order = order_by_score(scores, query.top_k)
            explanation = explanation_of(query, fusion, model.manifest, values, order, assigned.weights)

        self._observer.observe_rank(
            model=model.manifest.name,
            profile=in_force.profile,
            stages=watch.timings.stages,
            heads=inference.heads,
            scores=scores,
            non_finite=non_finite,
            unknown_items=int(np.count_nonzero(~items.found)),
        )
        if assigned.exposures:
            self._experiments.ranked(assigned, _ranked(model, scores, values_of, watch))
        return RankResult(
            query=query,
            manifest=model.manifest,
            model_version=model.version,
            in_force=in_force,
            order=order,
            scores=scores[order],
            heads=inference.heads,
            unknown_items=~items.found,
            explanation=explanation,
            timings=watch.timings,
            exposures=assigned.exposures,
        )


def _ranked(
    model: ServedModel, scores: FloatArray, values: Callable[[Scorer], Mapping[str, Any]], watch: Stopwatch
) -> Ranked:
    return Ranked(model=model, scores=scores, values=values, seconds=watch.timings.total_s)


def _check_weights(query: RankQuery, fusion: Scorer) -> None:
    if not query.weights:
        return
    try:
        fusion.check_weights(query.weights)
    except FormulaError as error:
        raise InvalidField(f"profile {query.profile!r}: {error.detail}", fix=error.fix, path=error.path) from None


def _formula_values(
    query: RankQuery, schema: FeatureSchema, items: ItemRows, heads: Predictions, fusion: Scorer
) -> Mapping[str, Any]:
    """Give what the formula reads: heads, and number fields as the caller or the item table gave them."""
    values: dict[str, Any] = {name: head for name, head in heads.items() if name in fusion.reads}
    for field in schema.numbers_on("request"):
        if field.name in fusion.reads:
            given = [query.request[field.name]] if field.name in query.request else None
            values[field.name] = numeric_column(field, given, 1)[0]
    for field in schema.numbers_on("candidate"):
        if field.name in fusion.reads:
            column: FloatArray | Any = query.candidates.get(field.name, items.numbers.get(field.name))
            values[field.name] = numeric_column(field, column, len(query.item_ids))
    return values
