"""The seams of the service: small Protocols, each with an adapter and a fake that pass one shared suite."""

from service.ports.experiments import Asked, Assigner, Assignment, Exposure, NoExperiments, Ranked, ShadowArm
from service.ports.fusion import FusionCompiler, FusionSource, InForce, Scorer
from service.ports.observing import RankedRequest, RequestSampler, StageObserver
from service.ports.serving import Clock, Inference, ItemRows, ItemStore, ModelCatalog, ModelRuntime, ServedModel

__all__ = [
    "Asked",
    "Assigner",
    "Assignment",
    "Clock",
    "Exposure",
    "FusionCompiler",
    "FusionSource",
    "InForce",
    "Inference",
    "ItemRows",
    "ItemStore",
    "ModelCatalog",
    "ModelRuntime",
    "NoExperiments",
    "Ranked",
    "RankedRequest",
    "RequestSampler",
    "Scorer",
    "ServedModel",
    "ShadowArm",
    "StageObserver",
]
