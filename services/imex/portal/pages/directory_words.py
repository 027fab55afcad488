"""What agreements and rules ask for beyond who and whom, in sentences for the page of the directory."""

from collections.abc import Iterator

from imex.directory import Agreement, Rule, opt_out_applies


def of_agreement(agreement: Agreement) -> Iterator[str]:
    """A sentence for each thing that it demands or allows."""
    if agreement.modalities:
        yield f"Only studies that have nothing but {_or(agreement.modalities)}."
    if agreement.controllers:
        yield f"Controller: {', '.join(agreement.controllers)}."
    if agreement.processors:
        yield f"Processor: {', '.join(agreement.processors)}."
    if agreement.clinician_required:
        yield "A share has to name the clinician it is meant for."
    if agreement.deidentify:
        yield f"Everything is de-identified, for project {agreement.deidentify.project}."
    if agreement.sensitive:
        yield "It covers records that are marked as sensitive, too."
    opted = [purpose for purpose in agreement.purposes if opt_out_applies(agreement, purpose)]
    if opted:
        yield f"The national data opt-out applies to {_or(opted).replace('-', ' ')}."
    elif agreement.opt_out == "exempt":
        yield "The national data opt-out does not apply."


def of_rule(rule: Rule) -> Iterator[str]:
    """A sentence for each thing that it asks for."""
    if rule.clinician:
        yield f"For {rule.clinician}."
    if rule.quiet_s is not None:
        yield f"Whole after {rule.quiet_s} seconds without anything new."
    if rule.completeness.required_series:
        yield f"Not before {rule.completeness.required_series}."
    if rule.completeness.at_most_s is not None:
        yield f"At the latest {rule.completeness.at_most_s} seconds after its first image."
    for alternate in rule.alternates:
        yield f"Instead to {', '.join(alternate.to)} if {alternate.if_}."
    if rule.priors:
        yield f"With up to {rule.priors.count} earlier studies of the person."
    if rule.unless_held:
        yield "Not to whom has it already."
    if rule.escalate:
        yield f"Becomes {rule.escalate.to} if it is not delivered after {rule.escalate.after_s} seconds."


def _or(words: tuple[str, ...] | list[str]) -> str:
    return " or ".join(", ".join(words).rsplit(", ", 1))
