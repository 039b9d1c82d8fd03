"""Operation codes and service actions by name (SPC-5, SBC-4)."""

from __future__ import annotations

import enum


class Opcode(enum.IntEnum):
    """Operation codes by name (SPC-5, SBC-4)."""

    TEST_UNIT_READY = 0x00
    REQUEST_SENSE = 0x03
    READ_6 = 0x08
    WRITE_6 = 0x0A
    INQUIRY = 0x12
    MODE_SELECT_6 = 0x15
    RESERVE_6 = 0x16
    RELEASE_6 = 0x17
    MODE_SENSE_6 = 0x1A
    START_STOP_UNIT = 0x1B
    RECEIVE_DIAGNOSTIC_RESULTS = 0x1C
    SEND_DIAGNOSTIC = 0x1D
    PREVENT_ALLOW_MEDIUM_REMOVAL = 0x1E
    READ_CAPACITY_10 = 0x25
    READ_10 = 0x28
    WRITE_10 = 0x2A
    SEEK_10 = 0x2B
    WRITE_AND_VERIFY_10 = 0x2E
    VERIFY_10 = 0x2F
    PRE_FETCH_10 = 0x34
    SYNCHRONIZE_CACHE_10 = 0x35
    READ_DEFECT_DATA_10 = 0x37
    WRITE_SAME_10 = 0x41
    UNMAP = 0x42
    LOG_SELECT = 0x4C
    LOG_SENSE = 0x4D
    MODE_SELECT_10 = 0x55
    RESERVE_10 = 0x56
    RELEASE_10 = 0x57
    MODE_SENSE_10 = 0x5A
    PERSISTENT_RESERVE_IN = 0x5E
    PERSISTENT_RESERVE_OUT = 0x5F
    THIRD_PARTY_COPY_OUT = 0x83
    THIRD_PARTY_COPY_IN = 0x84
    READ_16 = 0x88
    COMPARE_AND_WRITE = 0x89
    WRITE_16 = 0x8A
    WRITE_AND_VERIFY_16 = 0x8E
    VERIFY_16 = 0x8F
    PRE_FETCH_16 = 0x90
    SYNCHRONIZE_CACHE_16 = 0x91
    WRITE_SAME_16 = 0x93
    SERVICE_ACTION_IN_16 = 0x9E
    REPORT_LUNS = 0xA0
    MAINTENANCE_IN = 0xA3
    MAINTENANCE_OUT = 0xA4
    READ_12 = 0xA8
    WRITE_12 = 0xAA
    WRITE_AND_VERIFY_12 = 0xAE
    VERIFY_12 = 0xAF
    READ_DEFECT_DATA_12 = 0xB7


class SequentialOpcode(enum.IntEnum):
    """Operation codes that tapes have to themselves, or mean something else by (SSC-5)."""

    REWIND = 0x01
    READ_BLOCK_LIMITS = 0x05
    READ_6 = 0x08
    WRITE_6 = 0x0A
    WRITE_FILEMARKS_6 = 0x10
    SPACE_6 = 0x11
    VERIFY_6 = 0x13
    ERASE_6 = 0x19
    LOAD_UNLOAD = 0x1B
    LOCATE_10 = 0x2B
    READ_POSITION = 0x34
    REPORT_DENSITY_SUPPORT = 0x44
    READ_ATTRIBUTE = 0x8C
    WRITE_ATTRIBUTE = 0x8D
    SPACE_16 = 0x91
    LOCATE_16 = 0x92
    ERASE_16 = 0x93


class ChangerOpcode(enum.IntEnum):
    """Operation codes of medium changers alone, or that mean something else there (SMC-3)."""

    INITIALIZE_ELEMENT_STATUS = 0x07
    OPEN_CLOSE_IMPORT_EXPORT_ELEMENT = 0x1B
    POSITION_TO_ELEMENT = 0x2B
    INITIALIZE_ELEMENT_STATUS_WITH_RANGE = 0x37
    MOVE_MEDIUM = 0xA5
    EXCHANGE_MEDIUM = 0xA6
    READ_ELEMENT_STATUS = 0xB8


class MultimediaOpcode(enum.IntEnum):
    """Operation codes that CD and DVD drives have to themselves (MMC-6)."""

    READ_TOC_PMA_ATIP = 0x43
    GET_CONFIGURATION = 0x46
    GET_EVENT_STATUS_NOTIFICATION = 0x4A
    READ_DISC_INFORMATION = 0x51
    READ_TRACK_INFORMATION = 0x52
    READ_DISC_STRUCTURE = 0xAD
    READ_CD_MSF = 0xB9
    SET_CD_SPEED = 0xBB
    MECHANISM_STATUS = 0xBD
    READ_CD = 0xBE


class PersistentIn(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE IN (SPC-5 6.15)."""

    READ_KEYS = 0x00
    READ_RESERVATION = 0x01
    REPORT_CAPABILITIES = 0x02
    READ_FULL_STATUS = 0x03


class PersistentOut(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE OUT (SPC-5 6.16)."""

    REGISTER = 0x00
    RESERVE = 0x01
    RELEASE = 0x02
    CLEAR = 0x03
    PREEMPT = 0x04
    PREEMPT_AND_ABORT = 0x05
    REGISTER_AND_IGNORE = 0x06
    REGISTER_AND_MOVE = 0x07


class ServiceActionIn(enum.IntEnum):
    """Service actions of SERVICE ACTION IN(16) (SBC-4, "SERVICE ACTION IN(16)")."""

    READ_CAPACITY_16 = 0x10
    GET_LBA_STATUS = 0x12


class MaintenanceIn(enum.IntEnum):
    """Service actions of MAINTENANCE IN (SPC-5, "MAINTENANCE IN")."""

    REPORT_IDENTIFYING_INFORMATION = 0x05
    REPORT_TARGET_PORT_GROUPS = 0x0A
    REPORT_SUPPORTED_OPERATION_CODES = 0x0C
    REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS = 0x0D


class MaintenanceOut(enum.IntEnum):
    """Service actions of MAINTENANCE OUT (SPC-5, "MAINTENANCE OUT")."""

    SET_IDENTIFYING_INFORMATION = 0x06


class ThirdPartyOut(enum.IntEnum):
    """Service actions of THIRD-PARTY COPY OUT (SPC-5, "Third-party copy commands")."""

    EXTENDED_COPY_LID1 = 0x00
    EXTENDED_COPY_LID4 = 0x01
    COPY_OPERATION_ABORT = 0x1C


class ThirdPartyIn(enum.IntEnum):
    """Service actions of THIRD-PARTY COPY IN (SPC-5, "Third-party copy commands")."""

    RECEIVE_COPY_STATUS_LID1 = 0x00
    RECEIVE_COPY_DATA_LID1 = 0x01
    RECEIVE_COPY_OPERATING_PARAMETERS = 0x03
    RECEIVE_COPY_FAILURE_DETAILS_LID1 = 0x04
    RECEIVE_COPY_STATUS_LID4 = 0x05
    RECEIVE_COPY_DATA_LID4 = 0x06
