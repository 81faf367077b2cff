// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What becomes a record: the slot it is made in, and the names and paths behind it. */

/* Read a member into a fact of the record; the fact stays unknown when the kernel has no such member. */
#define TAKE(record, fact, base, type, member)                                      \
	do {                                                                        \
		if (FETCH(&(record)->fact, sizeof((record)->fact), base, type, member) == 0) \
			(record)->present |= FACT_##fact;                           \
	} while (0)

/* Likewise 64 bits of the kernel's data, at an address that it told. */
#define TAKE_COUNT(record, fact, address)                                                                  \
	do {                                                                                               \
		if (bpf_probe_read_kernel(&(record)->fact, sizeof((record)->fact), (void *)(address)) == 0) \
			(record)->present |= FACT_##fact;                                                  \
	} while (0)

#define barrier_var(number) asm volatile("" : "+r"(number))
#define NAME_ROOM 256 /* NAME_MAX and its NUL */
#define TEXT_ROOM 16384
#define TEXT_MASK (TEXT_ROOM - 1)
#define PATH_LEVELS 32
#ifdef CMDLINE
#define TEXT_SPARE (CMDLINE_ROOM + sizeof(u64))
#else
#define TEXT_SPARE NAME_ROOM
#endif

/* What becomes a record. Only one is made at a time, under oom_lock. */
struct draft {
	u64 owner; /* pid_tgid of the task that decides; 0: no decision is open */
	u64 why_length; /* of the text that belongs to the decision, before that of each victim */
	void *path_directory; /* the kernfs_node whose path is the last in the decision's text */
	void *trigger_cgroups; /* the css_set of a trigger that is the victim */
	struct kill_record record;
	char text[TEXT_ROOM + TEXT_SPARE]; /* directly behind the record */
};

/* Appends a name to the text behind the record: its length with its NUL, 0 when there is none. */
static __always_inline u64 append_name(struct draft *draft, u64 used, const void *name)
{
	long length;

	if (used > TEXT_MASK - NAME_ROOM)
		return 0;
	/* Or the compiler, which knows where the number comes from, leaves out the mask, which the verifier wants. */
	barrier_var(used);
	length = bpf_probe_read_kernel_str(&draft->text[used & TEXT_MASK], NAME_ROOM, name);
	return length > 0 ? length & (2 * NAME_ROOM - 1) : 0;
}

#if HAVE_kernfs_node___parent
#define PARENT_OF(to, node) FETCH(to, sizeof(*(to)), node, kernfs_node, __parent)
#else
#define PARENT_OF(to, node) FETCH(to, sizeof(*(to)), node, kernfs_node, parent)
#endif

/*
 * Appends the names from a cgroup's directory up to the root's, which is empty: their length. Where one is not to be
 * had it ends there, without the root's, and the path is unknown.
 */
static __always_inline u64 append_path(struct draft *draft, u64 used, void *directory)
{
	u64 start = used;

	for (int level = 0; level < PATH_LEVELS; level++) {
		const char *name = NULL;
		u64 length;

		if (!directory)
			break;
		FETCH(&name, sizeof(name), directory, kernfs_node, name);
		length = append_name(draft, used, name);
		if (!length)
			break;
		used += length;
		if (PARENT_OF(&directory, directory))
			break;
	}
	return used - start;
}

/* Appends the path of a cgroup's directory, but for one that is there already: the length of what it appended. */
static __always_inline u64 append_cgroup(struct draft *draft, u64 used, void *directory, u16 *length)
{
	if (directory && directory == draft->path_directory) {
		*length = SAME_PATH;
		return 0;
	}
	*length = append_path(draft, used, directory);
	return *length;
}

static __always_inline void *directory_of(void *cgroup)
{
	void *directory = NULL;

	FETCH(&directory, sizeof(directory), cgroup, cgroup, kn);
	return directory;
}
