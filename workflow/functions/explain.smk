# Stages of the search for the protocol behind Table 1.
EXPLAIN_PARTS = [
    *(f"sdlcore.model.activations.{name}" for name in ("relu", "jumprelu", "topk", "batchtopk")),
    *(f"sdlcore.losses.{name}" for name in ("l1", "l0", "multi_scale", "anchor")),
]
STAGES = PRODUCTS["explain"].stages if "explain" in PRODUCTS else {}


def stage_of(wildcards):
    """Return the stage that a job of the rule looks belongs to."""
    return STAGES[wildcards.stage]
