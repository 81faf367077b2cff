// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Drafts of records: the slot in which a record is made, and the names and paths after it. */

/* Read a member into a fact of the record; the fact stays unknown if the kernel has no such member. */
#define TAKE(record, fact, base, type, member)                                      \
	do {                                                                        \
		if (FETCH(&(record)->fact, sizeof((record)->fact), base, type, member) == 0) \
			(record)->present |= FACT_##fact;                           \
	} while (0)

/*
 * Read 64 bits of the kernel's data, at or after one of the draft's addresses, into a fact of the record. An unknown
 * address is 0: nothing can be read there, and the fact stays unknown.
 */
#define TAKE_COUNT(draft, fact, address)                                                                           \
	do {                                                                                                       \
		if (bpf_probe_read_kernel(&(draft)->record.fact, sizeof((draft)->record.fact), (void *)(address)) == 0) \
			(draft)->record.present |= FACT_##fact;                                                    \
	} while (0)

#define barrier_var(number) asm volatile("" : "+r"(number))
#define NAME_ROOM 256 /* NAME_MAX and its NUL */
#define TEXT_ROOM 8192
#define TEXT_MASK (TEXT_ROOM - 1)
#define PATH_LEVELS 32
#ifdef CMDLINE
#define TEXT_SPARE (CMDLINE_ROOM + sizeof(u64))
#else
#define TEXT_SPARE NAME_ROOM
#endif

/* The part of a cgroup's path that is in the record: its outermost names. */
struct kept {
	void *innermost; /* the ancestor with the last name */
	u32 level; /* of that ancestor; the root has 0 */
	u32 length; /* of the names, each with its NUL; 0: none */
};

/* A record in the making. There is only one at a time, under oom_lock. */
struct draft {
	u64 addresses[ADDRESSES]; /* of the kernel's data; written before the hooks are attached */
	u64 owner; /* pid_tgid of the task that decides; 0: no decision is open */
	u64 why_length; /* of the decision's text, which precedes that of each victim */
	void *trigger_cgroups; /* the css_set of a trigger that is the victim */
	struct kept domain;
	void *memcg; /* the domain's mem_cgroup, if it is a cgroup */
	u32 crowded; /* the ring is half full: paths are cut shorter */
#if !HAVE_cgroup_ancestors
	void *directories[PATH_LEVELS]; /* see line_up() */
#endif
	struct kill_record record;
	char text[TEXT_ROOM + TEXT_SPARE]; /* directly after the record */
};

/*
 * Appends the name to which the pointer at ``from`` points. Returns its length with the NUL; 0: there is none. A rename
 * changes the pointer and then frees the old name: if the pointer is still the same, the name was read correctly.
 */
static __always_inline u64 append_name(struct draft *draft, u64 used, void *from)
{
	const void *name = NULL, *still = NULL;
	long length;

	if (used > TEXT_MASK - NAME_ROOM || bpf_probe_read_kernel(&name, sizeof(name), from))
		return 0;
	/* Otherwise the compiler, which knows the number's range, drops the mask, which the verifier requires. */
	barrier_var(used);
	length = bpf_probe_read_kernel_str(&draft->text[used & TEXT_MASK], NAME_ROOM, name);
	if (bpf_probe_read_kernel(&still, sizeof(still), from) || still != name)
		return 0;
	return length > 0 ? length & (2 * NAME_ROOM - 1) : 0;
}

#if HAVE_cgroup_level && HAVE_cgroup_kn && HAVE_kernfs_node_name
#if HAVE_cgroup_ancestors
/* A cgroup points to all its ancestors since Linux 6.1 (7f203bc89eb6, "cgroup: Replace cgroup->ancestor_ids[]"). */
static __always_inline int line_up(struct draft *draft, void *cgroup, u32 depth)
{
	return 0;
}

static __always_inline void *ancestor_at(struct draft *draft, void *cgroup, u32 level)
{
	void *ancestor = NULL;

	bpf_probe_read_kernel(&ancestor, sizeof(ancestor), MEMBER(cgroup, cgroup, ancestors) + level * sizeof(ancestor));
	return ancestor;
}

static __always_inline void *directory_of(void *ancestor)
{
	void *directory = NULL;

	FETCH(&directory, sizeof(directory), ancestor, cgroup, kn);
	return directory;
}
#else
/* The verifier follows each step. The path of a deeper cgroup stays unknown. */
#define WALKED_LEVELS 1024

/* Collects the outermost directories; they overwrite inner ones. Returns 0, or -1 if the cgroup is too deep. */
static __always_inline int line_up(struct draft *draft, void *cgroup, u32 depth)
{
	void *directory = NULL;

	FETCH(&directory, sizeof(directory), cgroup, cgroup, kn);
	for (int step = 0; step < WALKED_LEVELS; step++) {
		if (!depth)
			break;
		draft->directories[depth % PATH_LEVELS] = directory;
		FETCH(&directory, sizeof(directory), directory, kernfs_node, parent);
		depth--;
		/* Otherwise the compiler merges both counters, and the verifier finds no bound of the loop. */
		barrier_var(depth);
	}
	return depth ? -1 : 0;
}

/* level: 1 to PATH_LEVELS. */
static __always_inline void *ancestor_at(struct draft *draft, void *cgroup, u32 level)
{
	return draft->directories[level % PATH_LEVELS];
}

static __always_inline void *directory_of(void *ancestor)
{
	return ancestor;
}
#endif

/*
 * Appends a cgroup's path, outermost name first: the root's, which is empty, and as many of the others as fit. If the
 * path begins with the recorded part of the domain's path, only the names after that part are appended. Returns the
 * length of the appended text; ``told``: the same with flags, for the reader.
 */
static __always_inline u64 append_path(struct draft *draft, u64 used, void *cgroup, u16 *told, struct kept *kept)
{
	u32 depth = 0, level = 0, room = draft->crowded ? PATH_ROOM_SHORT : PATH_ROOM;
	u64 start = used, length = 1;
	void *innermost = NULL, *ancestor;
	u16 how = 0;

	*told = 0;
	kept->length = 0;
	if (!cgroup || FETCH(&depth, sizeof(depth), cgroup, cgroup, level) || line_up(draft, cgroup, depth))
		return 0;
	if (draft->domain.level && draft->domain.level <= depth &&
	    ancestor_at(draft, cgroup, draft->domain.level) == draft->domain.innermost) {
		how = PATH_CONTINUES;
		level = draft->domain.level;
		length = draft->domain.length;
	} else {
		if (used > TEXT_MASK - NAME_ROOM)
			return 0;
		barrier_var(used);
		draft->text[used & TEXT_MASK] = 0;
		used++;
	}
	for (int step = 0; step < PATH_LEVELS; step++) {
		u64 more;

		if (level >= depth || level >= PATH_LEVELS)
			break;
		ancestor = ancestor_at(draft, cgroup, level + 1);
		more = append_name(draft, used, MEMBER(directory_of(ancestor), kernfs_node, name));
		if (!more || length + more > room)
			break;
		innermost = ancestor;
		level++;
		used += more;
		length += more;
	}
	kept->innermost = innermost;
	kept->level = level;
	kept->length = length;
	*told = (used - start) | how | (level < depth ? PATH_CUT : 0);
	return used - start;
}
#else
static __always_inline u64 append_path(struct draft *draft, u64 used, void *cgroup, u16 *told, struct kept *kept)
{
	*told = 0;
	return 0;
}
#endif
