"""The errors of the project that do not concern files: one base class, one class per failure."""


class AigcVqaError(Exception):
    """Base of every error that this project raises on purpose. Its text is meant for the user."""


class ShapeError(AigcVqaError, ValueError):
    """Tensors or arrays whose shapes do not fit together; the text gives every shape."""


class NonFiniteError(AigcVqaError, ArithmeticError):
    """A NaN or an infinity where a finite number is needed; the text says where."""
