"""The check of what nobody could judge: little of it, and of both models alike, or nothing was measured.

An answer that no verifier could judge leaves its task out for both models (`selftaught.evaluation.pairing`), so a model
whose worst answers are the ones that are not judged would seem better than it is.
"""

from selftaught.blocks import Check
from selftaught.core.statistics import mcnemar_two_sided
from selftaught.evaluation.pairing import Pairs
from selftaught.evaluation.runner import MOST_UNVERIFIED
from selftaught.evaluation.wording import percent

ALIKE = 0.005
"""How unlikely it has to be, were both models' answers judged equally often, that they were not: nine tasks to none."""


def judged(label: str, where: str, pairs: Pairs, whose: str = "champion") -> Check:
    """Whether what could not be judged is little, and of the challenger and `whose` model alike.

    `where` says in words which metric on which set that is.
    """
    reference, challenger = pairs.errors
    passed, alike = reference + challenger <= MOST_UNVERIFIED + 1e-9, mcnemar_two_sided(*pairs.alone)
    reason = (
        f"{where}: verifiers could not judge {percent(reference)} of the {whose}'s answers and {percent(challenger)} "
        f"of the challenger's: {pairs.left} tasks were left out for both"
    )
    if not passed:
        reason += f", which is more than {percent(MOST_UNVERIFIED)} together, so nothing was measured. Fix the verifier"
    elif alike <= ALIKE:
        reason += (
            f", {pairs.alone[0]} of them for the {whose}'s answers alone and {pairs.alone[1]} for the challenger's, "
            f"which is unlikely to be chance (p = {alike:.2g}): a model that is judged less often may seem better "
            "than it is. Fix the verifier"
        )
    values = {"left_out": pairs.left, whose: reference, "challenger": challenger, "p_value": alike}
    return Check(label, passed and alike > ALIKE, reason, values)
