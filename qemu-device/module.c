/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device as a module for a QEMU binary that exists already.
 *
 * LD_PRELOAD brings it into the process before main(). It calls functions and reads structures
 * of that binary, so it must be the very one whose headers it was compiled with: its build-id
 * is compared before anything else is done. (Modules of QEMU's own have a stamp to that end.)
 */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "built-for.h"

#define ID_MAX 64

typedef struct BuildId {
    /* In hexadecimal. */
    char text[2 * ID_MAX + 1];
} BuildId;

static size_t padded(size_t size)
{
    return (size + 3) & ~(size_t)3;
}

static void build_id_from_note(BuildId *id, const uint8_t *at, size_t size)
{
    while (size >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const void *)at;
        size_t name = padded(note->n_namesz);
        size_t length = padded(note->n_descsz);
        const uint8_t *value = at + sizeof(*note) + name;

        if (sizeof(*note) + name + length > size) {
            return;
        }
        if (note->n_type == NT_GNU_BUILD_ID && note->n_descsz <= ID_MAX) {
            for (uint32_t i = 0; i < note->n_descsz; i++) {
                snprintf(id->text + 2 * i, 3, "%02x", value[i]);
            }
            return;
        }
        at = value + length;
        size -= sizeof(*note) + name + length;
    }
}

/* The program itself is the first object that is reported. */
static int find_build_id(struct dl_phdr_info *program, size_t size, void *opaque)
{
    for (int i = 0; i < program->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &program->dlpi_phdr[i];

        if (header->p_type == PT_NOTE) {
            build_id_from_note(opaque, (void *)(program->dlpi_addr + header->p_vaddr),
                               header->p_memsz);
        }
    }
    return 1;
}

/*
 * Before the constructors of type_init() in this module, and before the
 * program's own start: one that is not the right one is ended here.
 */
static void __attribute__((constructor(101))) xen_vscsi_module_load(void)
{
    BuildId id = { 0 };

    /* What this program starts has no need of the module. */
    unsetenv("LD_PRELOAD");
    dl_iterate_phdr(find_build_id, &id);
    if (strcmp(id.text, BUILT_FOR_ID)) {
        fprintf(stderr,
                "xen-vscsi: error: this module is not for this program.\n"
                "xen-vscsi: it was built for '" BUILT_FOR_VERSION "', build-id " BUILT_FOR_ID ";\n"
                "xen-vscsi: %s has %s%s.\n"
                "xen-vscsi: hint: build it for this binary (qemu-device/README.md).\n",
                program_invocation_name, id.text[0] ? "build-id " : "no build-id", id.text);
        _exit(EXIT_FAILURE);
    }
}
