"""Events of a drive: each nexus hears each of them once, the most urgent first."""

from vhost_pvscsi.devices.optical.events import MOST, Events
from vhost_pvscsi.scsi.media_events import OPERATIONAL_CHANGED, EventClass, MediaEvent

ALL = 0xFF
MEDIA = 1 << EventClass.MEDIA


def heard(events, nexus, classes=ALL):
    found = []
    while (event := events.next(nexus, classes)) is not None:
        events.take(nexus, event)
        found.append(event[1])
    return found


def media(events, *codes, nexuses=("a", "b")):
    for code in codes:
        events.add(nexuses, EventClass.MEDIA, code)


def test_each_nexus_hears_for_itself():
    events = Events()
    media(events, MediaEvent.REMOVED, MediaEvent.NEW)
    assert heard(events, "a") == [MediaEvent.REMOVED, MediaEvent.NEW]
    assert heard(events, "a") == []
    assert heard(events, "b") == [MediaEvent.REMOVED, MediaEvent.NEW]
    assert heard(events, "c") == []


def test_what_was_only_looked_at_is_still_there():
    events = Events()
    media(events, MediaEvent.NEW)
    assert events.next("a", MEDIA) == events.next("a", MEDIA) == (EventClass.MEDIA, MediaEvent.NEW)


def test_the_more_urgent_class_comes_first_and_others_stay():
    events = Events()
    media(events, MediaEvent.NEW)
    events.add("a", EventClass.OPERATIONAL, OPERATIONAL_CHANGED)
    assert events.next("a", ALL) == (EventClass.OPERATIONAL, OPERATIONAL_CHANGED)
    assert heard(events, "a", MEDIA) == [MediaEvent.NEW]
    assert heard(events, "a") == [OPERATIONAL_CHANGED]


def test_a_request_that_is_repeated_is_told_once_and_not_after_it_was_met():
    events = Events()
    media(events, MediaEvent.EJECT_REQUEST, MediaEvent.EJECT_REQUEST)
    assert heard(events, "a") == [MediaEvent.EJECT_REQUEST]
    media(events, MediaEvent.REMOVED)
    assert heard(events, "b") == [MediaEvent.REMOVED]


def test_who_never_asks_costs_no_more_than_some():
    events = Events()
    media(events, *(MediaEvent.REMOVED, MediaEvent.NEW) * MOST)
    assert heard(events, "a") == [MediaEvent.REMOVED, MediaEvent.NEW] * (MOST // 2)


def test_a_nexus_that_has_gone_is_forgotten():
    events = Events()
    media(events, MediaEvent.NEW)
    events.forget("a")
    assert heard(events, "a") == []
