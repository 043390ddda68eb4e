// SPDX-License-Identifier: GPL-2.0-only
/*
 * TPM derived keys: errors on demand, to see that a debug kernel finds them.
 * No part of the series: build.sh puts it beside the key types in debug builds.
 *
 * Reading one of the files in the directory derived-planted of debugfs makes
 * the error it is called by.
 */

#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/mutex.h>
#include <linux/slab.h>

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static u8 table[4];

static void in_order(struct mutex *one, struct mutex *other)
{
	mutex_lock(one);
	mutex_lock(other);
	mutex_unlock(other);
	mutex_unlock(one);
}

static int inversion_get(void *data, u64 *value)
{
	in_order(&first, &second);
	in_order(&second, &first);
	*value = 0;
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(inversion, inversion_get, NULL, "%llu\n");

static int leak_get(void *data, u64 *value)
{
	u8 *lost = kmalloc(100, GFP_KERNEL);

	*value = !!lost;
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(leak, leak_get, NULL, "%llu\n");

/* One byte more than there is. */
static int overflow_get(void *data, u64 *value)
{
	size_t size = 100;
	u8 *buf = kmalloc(size, GFP_KERNEL);

	if (!buf)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(size);
	buf[size] = 1;
	*value = buf[0];
	kfree(buf);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(overflow, overflow_get, NULL, "%llu\n");

static int bounds_get(void *data, u64 *value)
{
	unsigned int index = sizeof(table);

	OPTIMIZER_HIDE_VAR(index);
	*value = table[index];
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(bounds, bounds_get, NULL, "%llu\n");

static int __init derived_planted_init(void)
{
	struct dentry *dir = debugfs_create_dir("derived-planted", NULL);

	debugfs_create_file_unsafe("inversion", 0400, dir, NULL, &inversion);
	debugfs_create_file_unsafe("leak", 0400, dir, NULL, &leak);
	debugfs_create_file_unsafe("overflow", 0400, dir, NULL, &overflow);
	debugfs_create_file_unsafe("bounds", 0400, dir, NULL, &bounds);
	return 0;
}
late_initcall(derived_planted_init);
