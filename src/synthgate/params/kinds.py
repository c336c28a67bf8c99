"""What all sections share: an unknown key is an error, and the kinds of numbers."""

from typing import Annotated

from pydantic import ConfigDict, Field

strict = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]
