"""What to do about a network that cannot be recorded, or copied."""

from __future__ import annotations

from ._shapes import ShapeError

COUNTS_IMAGES = "it turns the batch's size into a number"


class UnknownNumberError(Exception):
    """The network's code asks for a number that tracing does not know."""


def advice(error: Exception, has_example: bool) -> str:
    """What to do about code that cannot be recorded."""
    if isinstance(error, ShapeError):
        return (
            "The call does not work on the shapes of example=, with a batch of any size B. Give "
            "an example as the network takes it; code that fixes the batch's size cannot convert."
        )
    if str(error) == COUNTS_IMAGES:
        return (
            "Code that takes the images of a batch one by one, as a detector's does, is no fixed "
            "graph. Prepare the part that sees all of them, such as `detector.backbone`; code "
            "that only computes shapes can use x.shape[0] itself, or -1."
        )
    remedy = (
        "Its code branches or loops on the data, which a fixed graph cannot hold. Write it "
        "without that, or pass the type in `leaf_modules=` and tell how it converts with "
        "`ecl.register(Type)(handler)`."
    )
    if has_example:
        remedy += " Check that example= has the shape that the network takes."
    else:
        remedy += (
            " Code that only asks for shapes can be traced with an example: "
            "`ecl.prepare(model, example=images)`."
        )
    return remedy


def uncopied(error: Exception) -> str:
    """What to do about a network that cannot be copied, by torch's error."""
    text = str(error)
    if "graph leaves" in text:
        return (
            "it holds a tensor computed from its parameters, as old-style weight norm and pruning "
            "leave it. Make it permanent (torch.nn.utils.remove_weight_norm, prune.remove), or use "
            f"torch.nn.utils.parametrizations. ({text})"
        )
    return text
