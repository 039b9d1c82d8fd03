"""Sense data, byte for byte as SPC-5 4.4 lays it out."""

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Status
from vhost_pvscsi.scsi.sense import FieldPointer


def test_fixed_format_has_code_key_length_and_additional_code():
    assert sense.fixed(sense.WRITE_PROTECTED).hex() == "700007000000000a00000000270000000000"


def test_fixed_format_with_information_sets_valid():
    data = sense.fixed(sense.WRITE_ERROR, information=0x01020304)
    assert data.hex() == "f00003010203040a000000000c0000000000"


def test_fixed_format_leaves_out_information_that_does_not_fit():
    assert sense.fixed(sense.WRITE_ERROR, information=1 << 32) == sense.fixed(sense.WRITE_ERROR)


def test_fixed_format_points_at_a_field_of_bytes():
    data = sense.fixed(sense.INVALID_FIELD_IN_CDB, pointer=FieldPointer(2))
    assert data.hex() == "700005000000000a00000000240000c00002"


def test_fixed_format_points_at_a_bit_of_a_parameter_list():
    pointer = FieldPointer(0x0103, bit=4, in_cdb=False)
    assert sense.fixed(sense.INVALID_FIELD_IN_CDB, pointer=pointer)[15:].hex() == "8c0103"


def test_descriptor_format_without_descriptors():
    assert sense.descriptor(sense.POWER_ON).hex() == "7206290100000000"


def test_descriptor_format_with_information_and_field_pointer():
    data = sense.descriptor(
        sense.INVALID_FIELD_IN_CDB, information=0x0102030405060708, pointer=FieldPointer(1, 7)
    )
    head, information, pointer = data[:8], data[8:20], data[20:]
    assert head.hex() == "7205240000000014"
    assert information.hex() == "000a80000102030405060708"
    assert pointer.hex() == "02060000cf000100"


def test_check_condition_carries_fixed_sense():
    reply = sense.check_condition(sense.POWER_ON)
    assert reply.status is Status.CHECK_CONDITION
    assert reply.sense == sense.fixed(sense.POWER_ON)


def test_codes_read_as_the_standard_writes_them():
    assert str(sense.REPORTED_LUNS_DATA_HAS_CHANGED) == "6h/3Fh/0Eh"
