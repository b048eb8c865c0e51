"""When an overlay is in force: hours of a day, days of a week, in a time zone. Pure."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from guards.document import Strict

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES: Final = 24 * 60
Overlay = dict[str, Any]  # any fields of a policy


def _minutes(value: object) -> object:
    """Minutes since midnight. YAML reads an unquoted 22:00 as a number to base 60: the very same minutes."""
    if isinstance(value, str):
        hours, _, minutes = value.partition(":")
        if len(minutes) != 2 or not (hours.isdecimal() and minutes.isdecimal()) or int(minutes) > 59:
            raise ValueError("should be a time such as 08:30 or 24:00")
        value = int(hours) * 60 + int(minutes)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MINUTES:
        raise ValueError("should be a time from 00:00 to 24:00")
    return value


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError("there is no such time zone; write one such as Europe/Berlin or UTC") from error
    return name


Time = Annotated[
    int, BeforeValidator(_minutes), WithJsonSchema({"type": "string", "pattern": r"^([01]?\d|2[0-3]):[0-5]\d$|^24:00$"})
]


class Schedule(Strict):
    """Hours in which `then` is laid over the policy. From 22:00 to 06:00 on `fri` ends on Saturday morning."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="what coverage and `policy check` call it")
    days: tuple[Day, ...] = Field(DAYS, min_length=1, description="the days on which it begins")
    begins: Time = Field(0, alias="from", description="time of day from which on it applies")
    ends: Time = Field(MINUTES, alias="to", description="time before which it ends; past midnight if earlier")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field("UTC", description="time zone of both: an IANA name")
    tenants: tuple[str, ...] = Field((), description="whom it is for; everybody if not given")
    then: Overlay = Field(min_length=1, description="fields of the policy as they are in these hours")

    @model_validator(mode="after")
    def _some_time(self) -> "Schedule":
        if self.begins % MINUTES == self.ends % MINUTES and (self.begins, self.ends) != (0, MINUTES):
            raise ValueError("`from` and `to` are the same time; leave both out for whole days")
        return self

    def applies(self, tenant: str, at: datetime) -> bool:
        """Whether it is in force for `tenant` at a moment, which has a time zone of its own."""
        if self.tenants and tenant not in self.tenants:
            return False
        local = at.astimezone(ZoneInfo(self.timezone))
        minute, today = local.hour * 60 + local.minute, DAYS[local.weekday()]
        if self.begins < self.ends:
            return today in self.days and self.begins <= minute < self.ends
        yesterday = DAYS[(local - timedelta(days=1)).weekday()]
        return (today in self.days and minute >= self.begins) or (yesterday in self.days and minute < self.ends)
