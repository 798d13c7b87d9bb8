"""The section `methods`: one sub-section a method, declared in the method's folder."""

from typing import TYPE_CHECKING, Literal

from pydantic import create_model

from models.config import Section
from models.methods import method_names, params_of

if TYPE_CHECKING:
    MethodName = str
    MethodSections = Section
else:
    MethodName = Literal[method_names()]
    MethodSections = create_model(
        "MethodSections",
        __base__=Section,
        __doc__="What each method adds to the params; only those of `method` are used.",
        **{name: (params_of(name), ...) for name in method_names()},
    )
